package group

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// fakeMetadata is a metadata log of one key space and some topics: View and Doer in one.
type fakeMetadata struct {
	mu     sync.Mutex
	seq    uint64
	keys   map[string]metadata.KeyValue
	topics []metadata.Topic
	cmds   []metadata.SetKeys
	delay  time.Duration // of every Do, before it takes effect
	fail   error
	gate   func(cmd metadata.SetKeys) // called before a command takes effect
	stale  error                      // Confirm's answer

	sessions []metadata.Session
	late     []metadata.SetKeys // commands on their way whose senders were told nothing
	limbo    bool               // the next command goes there
}

func newFakeMetadata() *fakeMetadata {
	f := &fakeMetadata{keys: map[string]metadata.KeyValue{}, delay: 20 * time.Millisecond}
	for i, name := range []string{"orders", "logs"} {
		f.topics = append(f.topics, metadata.Topic{ID: record.TopicID{byte(i + 1)}, Name: name, Partitions: 4})
	}
	return f
}

func (f *fakeMetadata) Key(_, key string) (metadata.KeyValue, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kv, ok := f.keys[key]
	return kv, ok
}

func (f *fakeMetadata) Keys(_, prefix string) []metadata.KeyValue {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []metadata.KeyValue
	for _, kv := range f.keys {
		if strings.HasPrefix(kv.Key, prefix) {
			out = append(out, kv)
		}
	}
	slices.SortFunc(out, func(a, b metadata.KeyValue) int { return strings.Compare(a.Key, b.Key) })
	return out
}

func (f *fakeMetadata) Topic(name string) (metadata.Topic, bool) {
	return f.find(func(t metadata.Topic) bool { return t.Name == name })
}

func (f *fakeMetadata) TopicByID(id record.TopicID) (metadata.Topic, bool) {
	return f.find(func(t metadata.Topic) bool { return t.ID == id })
}

func (f *fakeMetadata) Topics() []metadata.Topic {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.topics)
}

func (f *fakeMetadata) find(is func(metadata.Topic) bool) (metadata.Topic, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.IndexFunc(f.topics, is); i >= 0 {
		return f.topics[i], true
	}
	return metadata.Topic{}, false
}

func (f *fakeMetadata) Do(ctx context.Context, cmd metadata.Command) (metadata.Result, error) {
	set, ok := cmd.(metadata.SetKeys)
	if !ok {
		return nil, fmt.Errorf("unexpected command %T", cmd)
	}
	select {
	case <-time.After(f.delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if f.gate != nil {
		f.gate(set)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return nil, f.fail
	}
	if f.limbo {
		f.limbo = false
		f.late = append(f.late, set)
		return nil, metadata.ErrUnavailable
	}
	return f.apply(set), nil
}

// land lets the commands in limbo take effect.
func (f *fakeMetadata) land() (results []metadata.SetKeysResult) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, set := range f.late {
		results = append(results, f.apply(set))
	}
	f.late = nil
	return results
}

func (f *fakeMetadata) apply(set metadata.SetKeys) metadata.SetKeysResult {
	f.cmds = append(f.cmds, set)
	f.seq++
	for _, op := range set.Ops {
		if op.Check && f.keys[op.Key].Version != op.Expect {
			return metadata.SetKeysResult{Err: metadata.ErrConflict, ConflictKey: op.Key}
		}
	}
	for _, op := range set.Ops {
		switch {
		case op.Delete:
			delete(f.keys, op.Key)
		case op.Write:
			f.keys[op.Key] = metadata.KeyValue{Key: op.Key, Value: op.Value, Version: f.seq}
		}
	}
	return metadata.SetKeysResult{Version: f.seq}
}

func (f *fakeMetadata) Sessions() []metadata.Session {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sessions)
}

func (f *fakeMetadata) Confirm(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stale
}

// start runs a coordinator until the test's end, or until stop is called.
func start(t *testing.T, f *fakeMetadata, owner string, change func(*Config)) (c *Coordinator, stop func()) {
	t.Helper()
	return startOn(t, f, f, owner, change)
}

// startOn is start with a view of its own.
func startOn(t *testing.T, view View, f *fakeMetadata, owner string, change func(*Config)) (c *Coordinator, stop func()) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Owner = owner
	if change != nil {
		change(&cfg)
	}
	rng := rand.New(rand.NewPCG(uint64(cfg.Session), uint64(len(owner)))) // agents must not make the same member ids
	c, err := New(cfg, view, f, time.Now, rng, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	time.Sleep(time.Millisecond) // synctest: until Run waits
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return c, stop
}
