package batcher

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// MaxCallBytes is the most one Append call may bring, in bytes of its batches.
const MaxCallBytes = 100 << 20

// MaxCallBatches is the most one Append call may bring in batches, and where an object is full whatever its size: the
// log entry that commits an object stays far below its bound.
const MaxCallBatches = 100_000

// batchOverhead is what one waiting batch is taken to cost beside its bytes.
const batchOverhead = 128

// Errors a caller acts on.
var (
	// ErrClosed: the batcher is stopping or has stopped. Nothing of the call was or will be written.
	ErrClosed = errors.New("batcher is closed")
	// ErrTooLarge: one call brings more than MaxCallBytes or MaxCallBatches. Nothing was written.
	ErrTooLarge = errors.New("append too large")
	// ErrNotWritten: the object could not be uploaded or its commit was refused as a whole, or what comes before it in its
	// producer's sequence failed so; nothing of it is or will be in the log. The producer may send it again.
	ErrNotWritten = errors.New("append not written")
	// ErrOutcomeUnknown: the batcher stopped while the commit was under way. The append may or may not be in the log.
	ErrOutcomeUnknown = errors.New("append outcome unknown")
)

// Config holds the settings. Zero values of all but Session mean the defaults.
type Config struct {
	Session metadata.SessionID // under which this batcher commits; it uses the counters from 0 on
	Cluster uint64             // hash of the cluster id, kept in every object

	// FlushInterval is how long the first append of an object waits for others, at most. Default 250 ms.
	FlushInterval time.Duration
	// FlushBytes is the size of batches from which an object is sealed at once. Objects stay below twice that, except
	// that a call as large makes an object of its own. Default 8 MiB.
	FlushBytes int64
	// BufferBytes bounds what has been appended and is not answered, in bytes of batches plus 128 for each. Append blocks
	// when it is full. Batches are copied once, into their object, and then let go, so each object being laid out is
	// held twice for a moment. Default 256 MiB.
	BufferBytes int64
	// InlineBytes is the size up to which a whole object travels in its commit and is not uploaded; 0: none does. At most
	// metadata.MaxInlineBytes, and only where the log is of level 2.
	InlineBytes int64
	// MaxUploads is how many objects upload at a time. Default 8.
	MaxUploads int
	// MaxCommits is how many commits are handed in before the first is answered. One that holds a batch which came too early is
	// answered half a second late, and what it waits for comes behind it; hence a default of 16.
	MaxCommits int
	// RetryMin and RetryMax bound the wait before a commit that found nobody is repeated; it doubles. Default 50 ms, 1 s.
	RetryMin, RetryMax time.Duration
	// DrainTimeout bounds how long Run goes on after its context ended. Default 30 s.
	DrainTimeout time.Duration

	// OnUploaded, when set, is told of every object that is in the store, but for those that travel in their commits, before its commit is handed in: who reads what
	// the commit makes visible finds what this keeps. Not each is committed, and they come in no order and from several
	// goroutines. It must be quick and must not change body, which it may hold; unless it does, the body is the batcher's again.
	OnUploaded func(key string, body *record.Buffer)

	// Buffers lends the memory of objects. Nil: a Batcher has a pool of its own, and Object.Build by itself makes memory
	// anew. Objects that travel in commits are not laid out in it: commits are kept longer than uploads.
	Buffers *record.BufferPool
}

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	c.FlushInterval = cmp.Or(c.FlushInterval, 250*time.Millisecond)
	c.FlushBytes = cmp.Or(c.FlushBytes, 8<<20)
	c.BufferBytes = cmp.Or(c.BufferBytes, 256<<20)
	c.MaxUploads = cmp.Or(c.MaxUploads, 8)
	c.MaxCommits = cmp.Or(c.MaxCommits, 16)
	c.RetryMin = cmp.Or(c.RetryMin, 50*time.Millisecond)
	c.RetryMax = cmp.Or(c.RetryMax, time.Second)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 30*time.Second)
	return c
}

// memory is what an object of size bytes is laid out in.
func (c Config) memory(size int, inline bool) *record.Buffer {
	if inline || c.Buffers == nil {
		return record.NewBuffer(make([]byte, 0, size))
	}
	return c.Buffers.Lend(size)
}

// Validate tells what is wrong with the settings, zero values taken as the defaults.
func (c Config) Validate() error {
	c = c.withDefaults()
	switch {
	case c.Session == 0:
		return errors.New("batcher: session is not set")
	case c.FlushInterval < 0 || c.DrainTimeout < 0 || c.RetryMin < 0:
		return fmt.Errorf("batcher: flush interval %v, drain timeout %v and retry %v must not be negative",
			c.FlushInterval, c.DrainTimeout, c.RetryMin)
	case c.RetryMax < c.RetryMin:
		return fmt.Errorf("batcher: longest retry wait %v is below the shortest, %v", c.RetryMax, c.RetryMin)
	case c.FlushBytes < 0 || c.FlushBytes > MaxCallBytes:
		return fmt.Errorf("batcher: flush bytes %d, want 1 to %d", c.FlushBytes, int64(MaxCallBytes))
	case c.InlineBytes < 0 || c.InlineBytes > metadata.MaxInlineBytes:
		return fmt.Errorf("batcher: inline bytes %d, want 0 to %d", c.InlineBytes, metadata.MaxInlineBytes)
	case c.BufferBytes < c.FlushBytes:
		return fmt.Errorf("batcher: buffer bytes %d are less than flush bytes %d", c.BufferBytes, c.FlushBytes)
	case c.MaxUploads < 1 || c.MaxUploads > 64:
		return fmt.Errorf("batcher: %d uploads at a time, want 1 to 64", c.MaxUploads)
	case c.MaxCommits < 1 || c.MaxCommits > 64:
		return fmt.Errorf("batcher: %d commits at a time, want 1 to 64", c.MaxCommits)
	}
	return nil
}
