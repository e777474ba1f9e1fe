package metadata_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/bargedata/barge/metadata"
)

// One goroutine drives a whole sequencer: what an action asks of the log is done at once, and its event waits its turn. A
// simulator does the same over a store with faults and a clock of its own.
func ExampleSequencerCore() {
	ctx := context.Background()
	log, view, now := metadata.NewMemoryLog(), metadata.NewView(), int64(0)
	sleep := func(_ context.Context, d time.Duration) error { now += d.Milliseconds(); return nil }
	start, err := metadata.TakeOver(ctx, log, view, "agent-a", 0, sleep, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println(err)
		return
	}
	id := byte(0)
	core := metadata.NewSequencerCore(metadata.SequencerConfig{}, view, func() [16]byte { id++; return [16]byte{id} }, start)

	var events []metadata.SequencerEvent
	submit := func(cmd metadata.Command) {
		sub, err := metadata.NewSubmission(cmd, func(r metadata.Result, err error) { fmt.Printf("%T: %+v %v\n", cmd, r, err) })
		if err != nil {
			fmt.Println(err)
			return
		}
		events = append(events, metadata.SubmitEvent{Sub: sub})
	}
	submit(metadata.OpenSession{})
	submit(metadata.AllocateProducerIDs{Count: 10})
	events = append(events, metadata.StopEvent{})
	for len(events) > 0 {
		ev := events[0]
		events = events[1:]
		for _, act := range core.Step(ev, now) {
			switch act := act.(type) {
			case metadata.AppendAction:
				events = append([]metadata.SequencerEvent{metadata.AppendedEvent{Err: act.Append(ctx, log)}}, events...)
			case metadata.ApplyAction:
				if err := act.Apply(view); err != nil {
					fmt.Println(err)
				}
			case metadata.AnswerAction:
				act.Answer()
			case metadata.CheckpointAction:
				seq, encode := view.Freeze()
				body := encode()
				events = append(events, metadata.CheckpointedEvent{Seq: seq, Bytes: int64(len(body)), Err: log.Checkpoint(ctx, act.Term, seq, body)})
			case metadata.EndAction:
				fmt.Println("ended:", act.Err, "- entries:", view.Applied())
			}
		}
	}
	// Output:
	// metadata.OpenSession: {Err:<nil> Session:1} <nil>
	// metadata.AllocateProducerIDs: {Err:<nil> First:1} <nil>
	// ended: <nil> - entries: 3
}
