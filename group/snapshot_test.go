package group

import (
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/bargedata/barge/record"
)

func sampleState(tb testing.TB) *State {
	tb.Helper()
	now := time.UnixMilli(1_700_000_000_000)
	cfg := DefaultConfig()
	cfg.InitialDelay = 0
	s := NewState("g", cfg, now)
	s.Step(Join{
		Ticket: 1, NewID: "m1", InstanceID: "i", ClientID: "c", Host: "h", Session: 10 * time.Second, Rebalance: time.Minute,
		ProtocolType: "consumer", Protocols: []Protocol{{Name: "range", Metadata: []byte("meta")}},
	}, now)
	s.Step(Sync{Ticket: 2, MemberID: "m1", InstanceID: "i", Generation: 1, Assignments: []Assignment{{MemberID: "m1", Bytes: []byte("all")}}}, now)
	s.Step(Saved{Revision: 1}, now)
	return s
}

// The durable bytes of version 1 never change their meaning: this value has to stay readable.
func TestSnapshotBytesOfVersion1(t *testing.T) {
	const golden = "010208636f6e73756d65720572616e6765026d3180a0abfef96201026d31016901630168904ee0d403046d65746103616c6c"
	_, got := sampleState(t).Snapshot()
	if hex.EncodeToString(got) != golden {
		t.Errorf("snapshot is\n%x, want\n%s", got, golden)
	}
	back, err := RestoreState("g", got, DefaultConfig(), time.UnixMilli(0))
	if err != nil {
		t.Fatal(err)
	}
	if m := back.members["m1"]; m == nil || m.instance != "i" || m.session != 10*time.Second || m.rebalance != time.Minute ||
		string(m.assignment) != "all" || string(m.metadata("range")) != "meta" || back.generation != 1 || back.phase != Stable {
		t.Errorf("restored: %+v %+v", back, m)
	}
	const offset = "015400b0a6abfef962046e6f7465"
	o := committed{offset: 42, leaderEpoch: 0, at: 1_700_000_000_408, metadata: "note"}
	if got := hex.EncodeToString(o.encode()); got != offset {
		t.Errorf("offset is %s, want %s", got, offset)
	}
}

func TestDamagedValuesAreRefused(t *testing.T) {
	_, good := sampleState(t).Snapshot()
	for n := range good {
		if _, err := RestoreState("g", good[:n], DefaultConfig(), time.UnixMilli(0)); !errors.Is(err, errCorrupt) {
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
	if _, err := RestoreState("g", append(good, 0), DefaultConfig(), time.UnixMilli(0)); !errors.Is(err, errCorrupt) {
		t.Errorf("a byte too many: %v", err)
	}
}

func FuzzRestoreState(f *testing.F) {
	_, good := sampleState(f).Snapshot()
	f.Add(good)
	f.Add([]byte{groupVersion})
	f.Fuzz(func(t *testing.T, value []byte) {
		s, err := RestoreState("g", value, DefaultConfig(), time.UnixMilli(0))
		if err != nil {
			return
		}
		s.Step(Tick{}, time.UnixMilli(1<<40))
	})
}

func TestKeysOfOffsetsReadBack(t *testing.T) {
	sh := &shard{index: 7}
	p, err := parseOffsetKey(sh.offsetKey("a/b c", samplePartition())[len(sh.offsetPrefix("a/b c")):])
	if err != nil || p != samplePartition() {
		t.Errorf("%v, %v", p, err)
	}
	if sh.offsetPrefix("a") == sh.offsetPrefix("a/b")[:len(sh.offsetPrefix("a"))] {
		t.Error("the keys of group a/b lie among those of group a")
	}
	for _, bad := range []string{"", "00", "zz/1", "00000000000000000000000000000000/x", "0000000000000000000000000000000g/1"} {
		if _, err := parseOffsetKey(bad); !errors.Is(err, errCorrupt) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func samplePartition() record.Partition {
	return record.Partition{Topic: record.TopicID{1, 2, 0xff}, Index: 12}
}
