package bucketlog

import (
	"bytes"
	"errors"
	"testing"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
)

// An object in a slot costs one GET, is checked on the way, and is gone with its slot.
func TestInlineObjectIsOneVerifiedGet(t *testing.T) {
	clock := newClock()
	memory := objectstore.NewMemory(clock.now)
	store := &shaky{Store: memory}
	log := open(t, store, 1)
	acquired := mustAcquire(t, log, "x")
	object := bytes.Repeat([]byte("batches "), 1000)
	e := metadata.Entry{Seq: acquired.Next, Term: acquired.Term, Commands: []metadata.Command{metadata.CommitObject{Session: 1, Inline: object}}}
	if err := log.Append(t.Context(), e.Term, e.Seq, [16]byte{9}, metadata.EncodeEntry(e)); err != nil {
		t.Fatal(err)
	}
	var key string
	e.EachInline(func(k string, _ []byte) { key = k })

	reader := log.WithInline(memory)
	store.counts() // from here on
	got, err := reader.Get(t.Context(), key, 1<<20)
	gets, lists := store.counts()
	if err != nil || !bytes.Equal(got, object) || gets != 1 || lists != 0 {
		t.Errorf("%d bytes, %v, %d GETs and %d LISTs; want the object for 1 GET", len(got), err, gets, lists)
	}

	raw, err := memory.Get(t.Context(), log.slotKey(e.Seq), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]int{"body": len(raw) - 5, "header": 10} {
		damaged := objectstore.NewMemory(clock.now)
		bad := bytes.Clone(raw)
		bad[at] ^= 1
		if err := damaged.Put(t.Context(), log.slotKey(e.Seq), bad); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, damaged, 2).WithInline(memory).Get(t.Context(), key, 1<<20); !errors.Is(err, metadata.ErrCorrupt) {
			t.Errorf("a bit of the %s changed: %v, want ErrCorrupt", name, err)
		}
	}
	if err := memory.Delete(t.Context(), log.slotKey(e.Seq)); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Get(t.Context(), key, 1<<20); !errors.Is(err, objectstore.ErrNotFound) {
		t.Errorf("truncated slot: %v, want ErrNotFound", err)
	}
}
