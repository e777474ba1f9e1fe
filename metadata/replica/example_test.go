package replica_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/replica"
)

// A driver hands a Core events, one at a time, and carries out what it wants done. This one has one agent, a log in memory that answers at once, and no
// network; core_sim_test.go has all of it.
func ExampleCore() {
	ctx, log, view := context.Background(), metadata.NewMemoryLog(), metadata.NewView()
	sleep := func(context.Context, time.Duration) error { return nil }
	ids := func() [16]byte { return [16]byte{1} }
	owner := metadata.Owner{Kafka: "a:9092", Peer: "a:7000"}
	core := replica.NewCore(replica.Config{Owner: owner}, view, rand.New(rand.NewPCG(1, 1)))

	var own *metadata.SequencerCore
	var queue []replica.Event
	take := func(ev replica.Event) { queue = append(queue, ev) }
	var sequence func(ev metadata.SequencerEvent)
	sequence = func(ev metadata.SequencerEvent) {
		for _, act := range own.Step(ev, 0) {
			switch act := act.(type) {
			case metadata.AppendAction:
				err := act.Append(ctx, log)
				defer sequence(metadata.AppendedEvent{Err: err})
			case metadata.ApplyAction:
				if err := act.Apply(view); err != nil {
					fmt.Println(err)
				}
				take(replica.AppliedEvent{Entry: act.Entry()})
			case metadata.AnswerAction:
				act.Answer()
			}
		}
	}
	carryOut := func(act replica.Action) {
		switch act := act.(type) {
		case replica.ReadAction:
			_, err := metadata.Follow(ctx, log, view, sleep)
			take(replica.ReadEvent{Call: act.Call, Err: err})
		case replica.AcquireAction:
			start, err := metadata.TakeOver(ctx, log, view, owner.String(), act.Unless, sleep, slog.New(slog.DiscardHandler))
			own = metadata.NewSequencerCore(metadata.SequencerConfig{}, view, ids, start)
			take(replica.AcquiredEvent{Start: start, Err: err})
		case replica.SendAction: // act.Own: there is nobody else
			sequence(metadata.SubmitEvent{Sub: act.Command.Submission(func(r metadata.Result, err error) {
				take(replica.AnsweredEvent{Outlet: act.Outlet, Command: act.Command, Result: r, Err: err})
			})})
		case replica.AnswerAction:
			act.Answer()
		case replica.ReadyAction:
			fmt.Println("ready, sequencing:", core.Sequencing())
		}
	}

	take(replica.StartEvent{})
	cmd, err := replica.NewCommand(metadata.CreateTopic{ID: topicID, Name: "logs", Partitions: 1}, func(r metadata.Result, err error) {
		fmt.Println(r.(metadata.CreateTopicResult).Topic.Name, err)
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	take(replica.SubmitEvent{Command: cmd})
	for len(queue) > 0 {
		ev := queue[0]
		queue = queue[1:]
		for _, act := range core.Step(ev, 0) {
			carryOut(act)
		}
	}
	fmt.Println("entries:", view.Applied())
	// Output:
	// ready, sequencing: true
	// logs <nil>
	// entries: 2
}
