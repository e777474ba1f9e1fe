package metadata

import (
	"fmt"
	"testing"
)

// checkpoints drives a core that appends without end and takes every checkpoint at once, of snapshots of so many bytes. It returns
// how many entries each of the first checkpoints waited for.
func checkpoints(t *testing.T, cfg SequencerConfig, snapshot int64, cmd func(i int) Command) []int {
	t.Helper()
	core := &SequencerCore{view: &coreSim{}, cfg: cfg.withDefaults(), ids: func() [16]byte { return [16]byte{1} }, term: 1}
	var waited []int
	entries := 0
	var take func(SequencerEvent)
	take = func(ev SequencerEvent) {
		for _, act := range core.Step(ev, 1) {
			switch act := act.(type) {
			case AppendAction:
				entries++
			case CheckpointAction:
				waited, entries = append(waited, entries), 0
				take(CheckpointedEvent{Seq: core.next, Bytes: snapshot})
			case TruncateAction:
				take(TruncatedEvent{})
			case ApplyAction, AnswerAction:
			default:
				t.Fatalf("action %T", act)
			}
		}
	}
	for i := range 10_000 {
		sub, err := NewSubmission(cmd(i), func(Result, error) {})
		if err != nil {
			t.Fatal(err)
		}
		take(SubmitEvent{sub})
		if take(AppendedEvent{}); len(waited) == 4 {
			return waited
		}
	}
	t.Fatalf("only %d checkpoints in 10,000 entries", len(waited))
	return nil
}

func TestCheckpointsFollowTheSizeOfTheState(t *testing.T) {
	keys := func(int) Command {
		return SetKeys{Space: "s", Ops: []KeyOp{{Key: "k", Write: true, Value: make([]byte, 1000)}}}
	}
	inline := func(i int) Command {
		return CommitObject{Session: 1, Counter: uint64(i), Inline: make([]byte, 4000), Size: 4000}
	}
	for _, c := range []struct {
		name     string
		cfg      SequencerConfig
		snapshot int64
		cmd      func(int) Command
		want     []int
	}{
		{"by bytes", SequencerConfig{CheckpointBytes: 10_000}, 100, keys, []int{10, 10, 10, 10}},
		{"by the last snapshot, where that is more", SequencerConfig{CheckpointBytes: 10_000}, 50_000, keys, []int{10, 50, 50, 50}},
		{"by entries all the same", SequencerConfig{CheckpointBytes: 10_000, CheckpointEntries: 20}, 50_000, keys, []int{10, 20, 20, 20}},
		{"a quarter of what lies inline", SequencerConfig{CheckpointBytes: 100_000}, 100, inline, []int{99, 99, 99, 99}},
	} {
		if got := checkpoints(t, c.cfg, c.snapshot, c.cmd); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: checkpoints after %v entries, want %v", c.name, got, c.want)
		}
	}
}
