package metadata

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/bargedata/barge/objectstore"
)

func TestObjectsInEntriesAreReadByTheirKeys(t *testing.T) {
	log, plain := NewMemoryLog(), objectstore.NewMemory(nil)
	acquired, err := log.Acquire(t.Context(), "x", 0)
	if err != nil {
		t.Fatal(err)
	}
	e := Entry{Seq: acquired.Next, Term: acquired.Term, Commands: []Command{
		CommitObject{Session: 1, Inline: []byte("first object")}, CommitObject{Session: 2, Inline: []byte("second")},
	}}
	if err := log.Append(t.Context(), e.Term, e.Seq, [16]byte{1}, EncodeEntry(e)); err != nil {
		t.Fatal(err)
	}
	if err := plain.Put(t.Context(), "wal/1/o", []byte("stored")); err != nil {
		t.Fatal(err)
	}
	store := log.WithInline(plain)
	var keys []string
	e.EachInline(func(key string, object []byte) {
		keys = append(keys, key)
		if got, err := store.Get(t.Context(), key, int64(len(object))); err != nil || !bytes.Equal(got, object) {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	})
	first := keys[0]
	if got, err := store.GetRange(t.Context(), first, 6, 6); err != nil || string(got) != "object" {
		t.Errorf("6 bytes at 6 of %s: %q, %v", first, got, err)
	}
	if got, err := store.Get(t.Context(), "wal/1/o", 100); err != nil || string(got) != "stored" {
		t.Errorf("object of the store: %q, %v", got, err)
	}
	if got, err := store.GetRange(t.Context(), "wal/1/o", 1, 2); err != nil || string(got) != "to" {
		t.Errorf("range of the store: %q, %v", got, err)
	}
	for _, c := range []struct {
		name     string
		key      string
		pos, len int64
		want     error
	}{
		{"a range beyond the object, within the slot", first, 6, 7, io.ErrUnexpectedEOF},
		{"before its beginning", first, -1, 3, io.ErrUnexpectedEOF},
		{"an object beyond the slot", InlineKey(e.Seq, 5, 1000), 0, 1000, io.ErrUnexpectedEOF},
		{"a claim's slot", InlineKey(0, 5, 10), 0, 10, io.ErrUnexpectedEOF},
		{"a slot that is not there", InlineKey(e.Seq+1, 5, 10), 0, 10, objectstore.ErrNotFound},
	} {
		if _, err := store.GetRange(t.Context(), c.key, c.pos, c.len); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := store.Get(t.Context(), first, 11); !errors.Is(err, objectstore.ErrTooLarge) {
		t.Errorf("object of 12 bytes into 11: %v, want ErrTooLarge", err)
	}
	if got, err := store.GetRange(t.Context(), InlineKey(99, 1, 1), 0, 0); err != nil || len(got) != 0 {
		t.Errorf("nothing at all: %q, %v", got, err)
	}
}
