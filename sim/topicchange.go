package sim

import (
	"errors"
	"math/rand/v2"
	"strconv"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// counted is the config that changes of topics count up in these worlds.
const counted = "flush.messages"

// mostGrown is how many partitions a topic has at most: each new one gets clients of its own.
const mostGrown = 6

// step of a topic's config, from one value to the next.
type step struct {
	topic record.TopicID
	from  string
}

// drawChanges makes topics grow and be altered in some worlds. It has a source of its own, as log starts have.
func (w *world) drawChanges() {
	w.changeRng = rand.New(rand.NewPCG(w.cfg.Seed, 0xa17e))
	w.profile.changes = []int{100_000_000, 100_000_000, 200, 800}[w.changeRng.IntN(4)]
	w.stepped = map[step]bool{}
}

// changeTopic has some agent grow a topic, or count its config up as two people do who read, add one and write. Each step is
// promised to one of them alone: that is how a lost change would show.
func (w *world) changeTopic() {
	r := w.changeRng
	if w.calm || w.kind == Stalled || w.steps < w.profile.lull || r.IntN(w.profile.changes) > 0 || len(w.agents) == 0 {
		return
	}
	a := w.agents[r.IntN(len(w.agents))]
	if a.paused || !a.ready || a.stopping || a.sealed || a.view.Level() < 4 {
		return
	}
	topics := a.view.Topics()
	if len(topics) == 0 {
		return
	}
	t := topics[r.IntN(len(topics))]
	if r.IntN(2) == 0 {
		if t.Partitions < mostGrown {
			w.note("grow topic", t.Name, int64(t.Partitions+1))
			a.submit(metadata.CreatePartitions{ID: t.ID, Partitions: t.Partitions + 1}, func(metadata.Result, error) {})
		}
		return
	}
	from := t.Configs[counted]
	n, _ := strconv.Atoi(from) // none is 0
	to, err := metadata.ChangeConfigs(t.Configs, []metadata.ConfigChange{{Name: counted, Value: strconv.Itoa(n + 1)}})
	if err != nil {
		w.fault("rest", "%v", err)
		return
	}
	w.note("alter topic", t.Name, int64(n+1))
	a.submit(metadata.AlterTopicConfigs{ID: t.ID, From: t.Configs, To: to}, func(res metadata.Result, err error) {
		got, ok := res.(metadata.AlterTopicConfigsResult)
		switch {
		case !ok || err != nil:
		case errors.Is(got.Err, metadata.ErrConflict):
			w.counts["changes of topics that lost a race"]++
		case got.Err == nil:
			if s := (step{t.ID, from}); w.stepped[s] {
				w.fault("changes", "topic %s: two were told that they had altered it from %s=%q", t.Name, counted, from)
			} else {
				w.stepped[s] = true
			}
		}
	})
}

// topicChanged notes a durable change.
func (o *oracle) topicChanged(r metadata.Result) {
	switch r := r.(type) {
	case metadata.AlterTopicConfigsResult:
		if r.Err == nil {
			o.w.counts["topics altered"]++
		}
	case metadata.CreatePartitionsResult:
		if r.Err == nil {
			o.w.counts["topics grown"]++
		}
	}
}
