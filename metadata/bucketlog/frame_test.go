package bucketlog

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/logtest"
	"github.com/bargedata/barge/objectstore"
)

var rewrite = flag.Bool("rewrite", false, "write golden files anew")

func someSlot() slot {
	return slot{
		kind: kindEntry, term: 7, seq: 1234567, id: logtest.ID(99), prev: hash{1, 2, 3}, time: 1_800_000_000_123,
		owner: "agent-3:9092", body: []byte("the commands"),
	}
}

func someClaim() slot {
	return slot{kind: kindClaim, term: 8, seq: 1234568, id: logtest.ID(100), prev: hash{4, 5, 6}, owner: "agent-4:9092", body: []byte{}}
}

func someSnapshot() snapshot {
	return snapshot{term: 8, seq: 1234569, chain: hash{7, 8, 9}, body: []byte("the state")}
}

// TestGoldenFrames keeps version 1 readable for good.
func TestGoldenFrames(t *testing.T) {
	for name, got := range map[string][]byte{
		"slot-v1.hex": encodeSlot(someSlot()), "claim-v1.hex": encodeSlot(someClaim()), "snapshot-v1.hex": encodeSnapshot(someSnapshot()),
	} {
		path := filepath.Join("testdata", name)
		if *rewrite {
			if err := os.WriteFile(path, []byte(hex.Dump(got)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if hex.Dump(got) != string(want) {
			t.Errorf("%s: encoded as\n%s", name, hex.Dump(got))
		}
	}
}

func TestEveryFlippedByteIsFound(t *testing.T) {
	for _, s := range []slot{someSlot(), someClaim()} {
		frame := encodeSlot(s)
		for i := range frame {
			frame[i] ^= 1
			if _, err := decodeSlot(frame, s.seq); !errors.Is(err, metadata.ErrCorrupt) {
				t.Errorf("slot byte %d flipped: %v", i, err)
			}
			frame[i] ^= 1
			if _, err := decodeSlot(frame[:i], s.seq); !errors.Is(err, metadata.ErrCorrupt) {
				t.Errorf("slot cut at %d: %v", i, err)
			}
		}
		if _, err := decodeSlot(append(frame, 0), s.seq); !errors.Is(err, metadata.ErrCorrupt) {
			t.Errorf("slot with a byte more: %v", err)
		}
		if _, err := decodeSlot(frame, s.seq+1); !errors.Is(err, metadata.ErrCorrupt) {
			t.Errorf("slot under another key: %v", err)
		}
	}
	frame := encodeSnapshot(someSnapshot())
	for i := range frame {
		frame[i] ^= 1
		if _, err := decodeSnapshot(frame, someSnapshot().seq); !errors.Is(err, metadata.ErrCorrupt) {
			t.Errorf("snapshot byte %d flipped: %v", i, err)
		}
		frame[i] ^= 1
		if _, err := decodeSnapshot(frame[:i], someSnapshot().seq); !errors.Is(err, metadata.ErrCorrupt) {
			t.Errorf("snapshot cut at %d: %v", i, err)
		}
	}
}

func FuzzSlot(f *testing.F) {
	f.Add(encodeSlot(someSlot()))
	f.Add(encodeSlot(someClaim()))
	f.Add(encodeSlot(slot{kind: kindEntry}))
	f.Add([]byte("BGSL"))
	f.Fuzz(func(t *testing.T, buf []byte) {
		head, _, headErr := decodeSlotHeader(buf)
		s, err := decodeSlot(buf, head.seq)
		if err != nil {
			if !errors.Is(err, metadata.ErrCorrupt) {
				t.Fatalf("not ErrCorrupt: %v", err)
			}
			return
		}
		if headErr != nil {
			t.Fatalf("whole slot is fine, its header is not: %v", headErr)
		}
		again, err := decodeSlot(encodeSlot(s), s.seq)
		if err != nil || again.term != s.term || again.id != s.id || again.owner != s.owner || !bytes.Equal(again.body, s.body) {
			t.Fatalf("%+v came back as %+v, %v", s, again, err)
		}
	})
}

func FuzzSnapshot(f *testing.F) {
	f.Add(encodeSnapshot(someSnapshot()), uint64(1234569))
	f.Add(encodeSnapshot(snapshot{}), uint64(0))
	f.Add([]byte("BGSN"), uint64(1))
	f.Fuzz(func(t *testing.T, buf []byte, seq uint64) {
		s, err := decodeSnapshot(buf, seq)
		if err != nil {
			if !errors.Is(err, metadata.ErrCorrupt) {
				t.Fatalf("not ErrCorrupt: %v", err)
			}
			return
		}
		again, err := decodeSnapshot(encodeSnapshot(s), seq)
		if err != nil || again.term != s.term || again.chain != s.chain || !bytes.Equal(again.body, s.body) {
			t.Fatalf("%+v came back as %+v, %v", s, again, err)
		}
	})
}

func TestDamageIsNamed(t *testing.T) {
	clock := newClock()
	fresh := func() (*objectstore.Memory, *Log, metadata.Acquired) {
		store := objectstore.NewMemory(clock.now)
		log := open(t, store, 1)
		a := mustAcquire(t, log, "a")
		mustFill(t, log, a.Term, a.Next, 5)
		return store, log, a
	}
	t.Run("flipped bit", func(t *testing.T) {
		store, _, a := fresh()
		damageNewest(t, store, "meta/0/log/")
		reader := open(t, store, 2)
		if entries, err := reader.Read(t.Context(), a.Next, 1000); !errors.Is(err, metadata.ErrCorrupt) {
			t.Fatalf("read gave %v, %v", entries, err)
		}
		if _, err := reader.Acquire(t.Context(), "b", 0); !errors.Is(err, metadata.ErrCorrupt) {
			t.Fatalf("acquire: %v", err)
		}
	})
	t.Run("missing slot", func(t *testing.T) {
		store, log, a := fresh()
		if err := store.Delete(t.Context(), log.slotKey(a.Next+2)); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, store, 2).Acquire(t.Context(), "b", 0); !errors.Is(err, metadata.ErrCorrupt) {
			t.Fatalf("acquire filled a hole: %v", err)
		}
	})
	t.Run("slot of another log", func(t *testing.T) {
		store, log, a := fresh()
		other, _, _ := fresh()
		stranger := open(t, other, 3)
		b := mustAcquire(t, stranger, "stranger")
		mustFill(t, stranger, b.Term, b.Next, 1)
		buf, err := other.Get(t.Context(), stranger.slotKey(b.Next), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for seq := a.Next + 5; seq < b.Next; seq++ { // the strangers' claim is one slot the first log lacks
			mustFill(t, log, a.Term, seq, 1)
		}
		if _, err := store.Create(t.Context(), log.slotKey(b.Next), buf); err != nil {
			t.Fatal(err)
		}
		if entries, err := open(t, store, 2).Read(t.Context(), 0, 1<<20); !errors.Is(err, metadata.ErrCorrupt) {
			t.Fatalf("read gave %d entries, %v", len(entries), err)
		}
	})
}

func TestNewRefusesUnsafeSettings(t *testing.T) {
	for _, cfg := range []Config{{}, {Prefix: "meta/0/"}, {Prefix: "m", SlotLife: 59e9}, {Prefix: "m", KeepSnapshots: 1}, {Prefix: "m", ReadAhead: 65}} {
		if _, err := New(nil, cfg, nil, nil); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}
