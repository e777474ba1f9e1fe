package scale

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/routing"
)

// cluster is the one sequencer of the run and what it knows. Time is virtual: microseconds since the run began.
type cluster struct {
	cfg  Config
	view *metadata.View
	core *metadata.SequencerCore
	log  *metadata.MemoryLog
	now  int64

	members routing.Members // once the producers have been routed

	appending int64 // when the append under way is durable; 0: none is
	sums      sums
	failed    error // a command was refused that must not be
}

// sums are what the run counts.
type sums struct {
	entries, entryBytes, sent, batches int64 // sent by producers, and in entries
	largestEntry                       int64
	sequencing, generating             int64 // CPU, nanoseconds
	freezes, encodes                   []int64
	snapshotBytes                      int64
}

// epoch is the entry time at which a run begins, in milliseconds: what looks like a time takes as many bytes as one.
const epoch = 1_790_000_000_000

func (c *cluster) millis() int64 { return epoch + c.now/1000 }

// newCluster opens the sessions and makes the topics.
func newCluster(ctx context.Context, cfg Config) (*cluster, error) {
	c := &cluster{cfg: cfg, view: metadata.NewView(), log: metadata.NewMemoryLog()}
	if err := c.takeOver(ctx); err != nil {
		return nil, err
	}
	for i := range cfg.Agents {
		c.submit(ctx, metadata.OpenSession{Agent: metadata.AgentInfo{
			Address: fmt.Sprintf("10.0.%d.%d:9092", i/250, i%250), HTTP: fmt.Sprintf("10.0.%d.%d:8080", i/250, i%250),
			Zone: zoneName(i % cfg.Zones), Version: "scale", Level: metadata.MaxLevel, Roles: []string{"produce", "fetch", "coordinate", "compact"},
		}}, nil)
	}
	c.submit(ctx, metadata.RaiseLevel{Level: metadata.MaxLevel}, nil)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range cfg.Topics {
		n := (i+1)*cfg.Partitions/cfg.Topics - i*cfg.Partitions/cfg.Topics
		cmd := metadata.CreateTopic{ID: randomTopic(rng), Name: fmt.Sprintf("service-%05d.events", i), Partitions: int32(n)}
		for !c.core.Room() {
			c.settle(ctx)
		}
		c.submit(ctx, cmd, func(r metadata.Result) error {
			created, ok := r.(metadata.CreateTopicResult)
			if !ok {
				return fmt.Errorf("create topic: answered %T", r)
			}
			return created.Err
		})
	}
	c.settle(ctx)
	return c, c.failed
}

func randomTopic(rng *rand.Rand) (id record.TopicID) {
	binary.BigEndian.PutUint64(id[:], rng.Uint64())
	binary.BigEndian.PutUint64(id[8:], rng.Uint64())
	return id
}

func zoneName(i int) string { return string(rune('a' + i)) }

// takeOver makes the cluster's view what the log holds and begins a term.
func (c *cluster) takeOver(ctx context.Context) error {
	start, err := metadata.TakeOver(ctx, c.log, c.view, "scale", 0, noSleep, discard())
	if err != nil {
		return err
	}
	id := uint64(0)
	ids := func() (out [16]byte) {
		id++
		binary.BigEndian.PutUint64(out[:], id)
		return out
	}
	c.core = metadata.NewSequencerCore(metadata.SequencerConfig{}, c.view, ids, start)
	return nil
}

// submit hands a command in. check judges its result; nil takes any.
func (c *cluster) submit(ctx context.Context, cmd metadata.Command, check func(metadata.Result) error) {
	sub, err := metadata.NewSubmission(cmd, func(r metadata.Result, err error) {
		if err == nil && check != nil {
			err = check(r)
		}
		if err != nil && c.failed == nil {
			c.failed = err
		}
	})
	if err != nil {
		c.failed = err
		return
	}
	c.step(ctx, metadata.SubmitEvent{Sub: sub})
}

// settle goes on in time until nothing is under way.
func (c *cluster) settle(ctx context.Context) {
	for c.appending > 0 && c.failed == nil {
		c.now = c.appending
		c.appended(ctx)
	}
}

// appended tells the core that the append under way is durable.
func (c *cluster) appended(ctx context.Context) {
	c.appending = 0
	c.step(ctx, metadata.AppendedEvent{})
}

// step is the sequencer's work: what its goroutine does for one event, and what is done beside it for snapshots.
func (c *cluster) step(ctx context.Context, first metadata.SequencerEvent) {
	events := []metadata.SequencerEvent{first}
	for len(events) > 0 && c.failed == nil {
		ev := events[0]
		events = events[1:]
		for _, act := range c.core.Step(ev, c.millis()) {
			switch act := act.(type) {
			case metadata.AppendAction:
				if err := act.Append(ctx, c.log); err != nil {
					c.failed = err
				}
				c.appending = c.now + c.cfg.Append.Microseconds()
			case metadata.ApplyAction:
				if err := act.Apply(c.view); err != nil {
					c.failed = err
				}
				c.sums.entries++
				c.sums.batches += batchesIn(act.Entry())
				c.sums.entryBytes += int64(act.Bytes())
				c.sums.largestEntry = max(c.sums.largestEntry, int64(act.Bytes()))
			case metadata.AnswerAction:
				act.Answer()
			case metadata.CheckpointAction:
				events = append(events, c.checkpoint(ctx, act.Term))
			case metadata.TruncateAction:
				events = append(events, metadata.TruncatedEvent{Err: c.log.Truncate(ctx, act.Term, act.Below)})
			default:
				c.failed = fmt.Errorf("the sequencer wants %T, which no part of this run can bring about", act)
			}
		}
	}
}

func batchesIn(e metadata.Entry) (n int64) {
	for _, cmd := range e.Commands {
		if commit, ok := cmd.(metadata.CommitObject); ok {
			for i := range commit.Runs {
				n += int64(len(commit.Runs[i].Batches))
			}
		}
	}
	return n
}

// checkpoint writes a snapshot. Encoding it is not the sequencer's work: that goes on beside it.
func (c *cluster) checkpoint(ctx context.Context, term uint64) metadata.SequencerEvent {
	began := cpuTime()
	seq, encode := c.view.Freeze()
	frozen := cpuTime()
	body := encode()
	encoded := cpuTime()
	c.sums.freezes = append(c.sums.freezes, int64(frozen-began))
	c.sums.encodes = append(c.sums.encodes, int64(encoded-frozen))
	c.sums.snapshotBytes = int64(len(body))
	err := c.log.Checkpoint(ctx, term, seq, body)
	c.sums.sequencing -= int64(cpuTime() - frozen) // the caller counts all of it
	return metadata.CheckpointedEvent{Seq: seq, Bytes: int64(len(body)), Err: err}
}

// partitions lists all partitions, by topic id.
func (c *cluster) partitions() []record.Partition {
	var all []record.Partition
	for _, t := range c.view.Topics() {
		for i := range t.Partitions {
			all = append(all, record.Partition{Topic: t.ID, Index: i})
		}
	}
	slices.SortFunc(all, record.Partition.Compare)
	return all
}
