package ingest

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

const (
	// freshTimeout bounds how long an offset that seems out of range is doubted before the client is told to come again.
	freshTimeout = 10 * time.Second
	// lookupTimeout is the same for a topic that seems not to exist. Produce waits for it in front of all that follows.
	lookupTimeout = 3 * time.Second
)

// What names that nobody has heard of may cost. Each doubt is a question to the agent that orders the log, and there to the
// store; consumers of a topic that does not exist ask ten times a second, for ever.
const (
	doubtBurst    = 20              // doubts at once
	doubtInterval = time.Second / 2 // for each further one
	doubtMemory   = 5 * time.Second // a name that was found not to exist is not doubted again for so long
	doubtNames    = 1_024           // remembered at most
)

// fresh makes the View hold all that was in the log when it was called.
func (s *Server) fresh(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return s.deps.Fresh(ctx)
}

// lookup finds topics for one request. A topic that the View does not show may have been created through another agent a
// moment ago: the View catches up, at most once for a request, before the client hears that there is none. This is given up
// while too many such names are asked about; then the View's word is taken, which is rarely a second old, and the client
// comes again, since not to exist is a passing state to all of them.
type lookup struct {
	s     *Server
	ctx   context.Context //nolint:containedctx // a lookup lives as long as its request
	fresh bool
	err   error
}

func (s *Server) lookup(ctx context.Context) *lookup { return &lookup{s: s, ctx: ctx} }

// named finds a topic by name, or gives metadata.ErrUnknownTopic, or why that is not known.
func (l *lookup) named(name string) (metadata.Topic, error) {
	find := func() (metadata.Topic, bool) { return l.s.deps.View.Topic(name) }
	if metadata.ValidateTopicName(name) != nil {
		return metadata.Topic{}, unknownTopic(name) // nobody can have created it
	}
	return l.find(name, find)
}

// identified finds a topic by its id, with the same errors.
func (l *lookup) identified(id record.TopicID) (metadata.Topic, error) {
	return l.find(id.String(), func() (metadata.Topic, bool) { return l.s.deps.View.TopicByID(id) })
}

func (l *lookup) find(name string, find func() (metadata.Topic, bool)) (metadata.Topic, error) {
	if t, ok := find(); ok {
		return t, nil
	}
	if !l.fresh && l.err == nil {
		if !l.s.doubts.admit(name, l.s.deps.Now()) {
			return metadata.Topic{}, unknownTopic(name)
		}
		l.catchUp()
	}
	if l.err != nil {
		return metadata.Topic{}, fmt.Errorf("topic %q is not known here, and whether it exists could not be asked: %w", name, l.err)
	}
	t, ok := find()
	if !ok {
		l.s.doubts.absent(name, l.s.deps.Now())
		return metadata.Topic{}, unknownTopic(name)
	}
	return t, nil
}

// covers reports whether t has a partition of that index. One that it seems not to have may have been added through another agent a
// moment ago: as for topics, the View catches up once, if such questions are not too many, and t is then as it is by now.
func (l *lookup) covers(t *metadata.Topic, index int32) bool {
	if index < 0 || index < t.Partitions {
		return index >= 0
	}
	name := t.Name + "/" + strconv.Itoa(int(index)) // of no topic: a name has no slash
	if !l.fresh {
		if l.err != nil || !l.s.doubts.admit(name, l.s.deps.Now()) {
			return false
		}
		l.catchUp()
	}
	if grown, ok := l.s.deps.View.TopicByID(t.ID); ok {
		*t = grown
	}
	if index >= t.Partitions && l.err == nil {
		l.s.doubts.absent(name, l.s.deps.Now())
	}
	return index < t.Partitions
}

// catchUp makes the View hold what was in the log when the request came, however often it is called.
func (l *lookup) catchUp() {
	if l.fresh || l.err != nil {
		return
	}
	l.err = l.s.fresh(l.ctx, lookupTimeout)
	l.fresh = l.err == nil
}

func unknownTopic(name string) error {
	return fmt.Errorf("no topic %q: %w", name, metadata.ErrUnknownTopic)
}

// doubts decides which names that the View does not show are worth a question. Safe for concurrent use.
type doubts struct {
	mu    sync.Mutex
	debt  time.Duration // of the bucket: doubtInterval for each doubt, paid off as time passes
	paid  time.Time
	known map[string]time.Time // names found not to exist, and when
}

// admit reports whether to ask about name now, and counts the question.
func (d *doubts) admit(name string, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if since := now.Sub(d.known[name]); since >= 0 && since < doubtMemory {
		return false
	}
	d.debt = max(0, d.debt-max(0, now.Sub(d.paid)))
	d.paid = now
	if d.debt+doubtInterval > doubtBurst*doubtInterval {
		return false
	}
	d.debt += doubtInterval
	return true
}

// absent remembers that name was found not to exist.
func (d *doubts) absent(name string, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil || len(d.known) == doubtNames {
		d.known = make(map[string]time.Time) // forgetting them costs a question each, and those are bounded
	}
	d.known[name] = now
}
