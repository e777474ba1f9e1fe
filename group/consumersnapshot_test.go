package group

import (
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// sampleConsumers is a group in the middle of a rebalance: every field of the durable form means something.
func sampleConsumers(tb testing.TB) *ConsumerState {
	tb.Helper()
	now := time.UnixMilli(1_700_000_000_000)
	topics := NewTopicSet([]metadata.Topic{{ID: record.TopicID{1}, Name: "t", Partitions: 4}, {ID: record.TopicID{2}, Name: "u", Partitions: 1}})
	s := NewConsumerState("g", DefaultConfig(), 0, now)
	text := func(v string) *string { return &v }
	for _, ev := range []Beat{
		{MemberID: "a", RackID: text("r"), ClientID: "c", Host: "h", Rebalance: time.Minute, HasNames: true, Names: []string{"t"}, HasOwned: true},
		{MemberID: "b", InstanceID: "i", Rebalance: time.Second, Pattern: text("[tu]"), Assignor: text("range"), HasOwned: true},
		{MemberID: "a", Epoch: 1, ClientID: "c", Host: "h", Rebalance: -1},
	} {
		ev.Ticket, ev.Topics = 1, topics
		s.Step(ev, now)
	}
	return s
}

// The durable bytes of a group of the consumer protocol never change their meaning: this value has to stay readable.
func TestConsumerSnapshotBytesOfVersion2(t *testing.T) {
	const golden = "0202020488ff0c9b63c61880a0abfef96202" +
		"016100017201630168e0d4030101740000010200" +
		"010100000000000000000000000000000002020101010101000000000000000000000000000000020001" +
		"0101000000000000000000000000000000020201" +
		"01620169000000e80700045b74755d0572616e6765020400" +
		"01020000000000000000000000000000000100020002010000000000000000000000000000000200010200000000000000" +
		"00000000000000000100"
	_, got := sampleConsumers(t).Snapshot()
	if hex.EncodeToString(got) != golden {
		t.Errorf("snapshot is\n%x, want\n%s", got, golden)
	}
	s, err := RestoreConsumerState("g", got, DefaultConfig(), time.UnixMilli(0))
	if err != nil {
		t.Fatal(err)
	}
	a, b := s.members["a"], s.members["b"]
	if a == nil || a.rack != "r" || a.clientID != "c" || a.host != "h" || a.rebalance != time.Minute || a.progress != revoking || a.epoch != 1 ||
		len(a.assigned) != 2 || a.assigned[record.Partition{Topic: record.TopicID{1}, Index: 2}] != 1 || len(a.giveUp) != 2 || len(a.target) != 2 {
		t.Errorf("restored: %+v", a)
	}
	if b == nil || b.instance != "i" || b.pattern != "[tu]" || b.assignor != "range" || b.progress != waiting || b.epoch != 2 || len(b.target) != 3 {
		t.Errorf("restored: %+v", b)
	}
	if s.epoch != 2 || s.targetEpoch != 2 || s.topicsHash == 0 || len(s.owners) != 5 {
		t.Errorf("restored: %+v", s)
	}
}

func TestDamagedConsumerValuesAreRefused(t *testing.T) {
	_, good := sampleConsumers(t).Snapshot()
	for n := range good {
		if _, err := RestoreConsumerState("g", good[:n], DefaultConfig(), time.UnixMilli(0)); !errors.Is(err, errCorrupt) {
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
	if _, err := RestoreConsumerState("g", append(good, 0), DefaultConfig(), time.UnixMilli(0)); !errors.Is(err, errCorrupt) {
		t.Errorf("a byte too many: %v", err)
	}
}

func FuzzRestoreConsumerState(f *testing.F) {
	_, good := sampleConsumers(f).Snapshot()
	f.Add(good)
	f.Add([]byte{consumersVersion})
	topics := NewTopicSet([]metadata.Topic{{ID: record.TopicID{1}, Name: "t", Partitions: 4}})
	f.Fuzz(func(t *testing.T, value []byte) {
		s, err := RestoreConsumerState("g", value, DefaultConfig(), time.UnixMilli(0))
		if err != nil {
			return
		}
		s.Step(Beat{Ticket: 1, MemberID: "new", Rebalance: time.Second, HasNames: true, Names: []string{"t"}, HasOwned: true, Topics: topics}, time.UnixMilli(1))
		s.Step(Tick{}, time.UnixMilli(1<<40))
	})
}
