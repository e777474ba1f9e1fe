// Package objectstore holds immutable objects by key. Drivers live below it: file (a local directory), s3 (any
// S3-compatible server), and the in-memory store of this package. Decorators here add retries with hedging and meters.
//
// A first call:
//
//	store, err := file.Open(dir, time.Now)
//	_, err = store.Create(ctx, "meta/0/00000000000000000000", body) // ErrExists when somebody was first
//
// Every driver passes the conformance suite in storetest.
package objectstore

import (
	"context"
	"errors"
	"time"
)

// Errors a caller acts on. Drivers wrap them with the key; compare with errors.Is.
var (
	// ErrExists is Create's answer when the key holds an object already.
	ErrExists = errors.New("object exists")
	// ErrNotFound is GetRange's and Get's answer for a key that holds no object.
	ErrNotFound = errors.New("object not found")
	// ErrUnknown marks an outcome that may or may not have happened (time-out, reset, 5xx, 409): repeat the same call.
	ErrUnknown = errors.New("outcome unknown")
	// ErrDenied: credentials are missing, wrong, or lack a permission. Repeating does not help.
	ErrDenied = errors.New("access denied")
	// ErrNoBucket: the bucket or root directory does not exist. Repeating does not help.
	ErrNoBucket = errors.New("bucket does not exist")
	// ErrFull: the store has no room (disk full, quota). It may pass; nothing was written.
	ErrFull = errors.New("store is full")
	// ErrMaybeOurs stands beside ErrExists when Create was attempted more than once and an earlier attempt's outcome is
	// unknown: the key is taken, perhaps by this very call. Read the object and compare an id in its body.
	ErrMaybeOurs = errors.New("perhaps written by an earlier attempt of the same call")
	// ErrTooLarge is Get's answer for an object longer than the caller allows.
	ErrTooLarge = errors.New("object larger than the limit")
	// ErrInvalidKey is every method's answer for a key or prefix that ValidKey or ValidPrefix refuses.
	ErrInvalidKey = errors.New("invalid object key")
	// ErrClash: the key needs a directory where the store has an object, or the reverse. Only the file driver gives it.
	ErrClash = errors.New("object and directory clash")
	// ErrNotAtomic is Probe's answer for a store whose create-if-absent lets more than one writer win.
	ErrNotAtomic = errors.New("store does not create atomically")
	// ErrListing is Probe's answer for a store whose listings are out of order or lack what has just been written.
	ErrListing = errors.New("store does not list in key order all that is there")
)

// MaxKeyBytes is the longest key of the S3 protocol, prefix included.
const MaxKeyBytes = 1024

// Object is one row of a listing.
type Object struct {
	Key  string
	Size int64
}

// Store is the whole surface of an object store. Callers declare narrower interfaces of the methods they use; drivers
// and decorators implement all. All methods are safe for concurrent use and return when ctx ends.
//
// Keys are slash-separated, non-empty, without "." or ".." segments, without a leading slash; bytes allowed are those
// ValidKey accepts. Bodies are owned by the caller again when the call returns.
//
// # Outcomes of a write
//
// Create and Put that return nil are durable. After an error that is ErrUnknown, whatever else it is besides, and after
// one that is the context's own (Canceled, DeadlineExceeded), the write may have happened and may still happen later.
// After any other error it has not happened and will not, but for ErrMaybeOurs:
//
// Create's ErrExists is certain about the key (it is taken, durably) but not always about the writer. A driver makes
// one attempt, so its ErrExists means another call wrote. A decorator that repeats or hedges cannot know: when one of
// its attempts had an unknown outcome, a later ErrExists may be the echo of that attempt. WithRetry then returns an
// error that is both ErrExists and ErrMaybeOurs, and never ErrUnknown. A caller that must know who won puts an id into
// the body and reads the object back on ErrExists; a caller that repeats Create itself must do so on every ErrExists,
// since the mark covers only the attempts inside one call. Who finds its own id that way has no time of the write.
type Store interface {
	// Create writes body under key if the key holds nothing, atomically: of any number of racing calls exactly one
	// succeeds. It returns the store's own time of the write (s3: the Date header; file: the injected clock), the only
	// clock that may enter a safety argument. It is the zero time when the store told none (a proxy stripped the
	// header): that permits no conclusion about age. ErrExists when the key is taken; ErrUnknown when the outcome is
	// not known.
	Create(ctx context.Context, key string, body []byte) (time.Time, error)
	// Put writes body under key. It is only for keys that are never written with other bytes (invariant I3), so that
	// repeats and hedges are harmless. The one exception is Delta's _last_checkpoint hint.
	Put(ctx context.Context, key string, body []byte) error
	// Get returns the whole object, at most maxBytes long (ErrTooLarge beyond). The slice belongs to the caller.
	Get(ctx context.Context, key string, maxBytes int64) ([]byte, error)
	// GetRange returns exactly length bytes from pos; asking past the object's end is an error wrapping
	// io.ErrUnexpectedEOF. A length of 0 returns an empty slice without asking the store. A body cut short on the way is
	// ErrUnknown and never io.ErrUnexpectedEOF. The slice belongs to the caller.
	GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error)
	// List returns up to limit (at least 1) objects whose keys start with prefix and are > after, in ascending byte order
	// of the whole keys, and all whose writes had ended before the call. Fewer than limit means that there were no more.
	// after need not be a valid or existing key. Callers page by the last key, so a driver whose server lists in another
	// order (S3 Express) fails the call and never hands out a page that is out of order.
	List(ctx context.Context, prefix, after string, limit int) ([]Object, error)
	// Delete removes the objects; a key that holds nothing is no error. Keys are removed in no particular order; after
	// an error any of them may be gone, so repeat the whole call.
	Delete(ctx context.Context, keys ...string) error
}
