package replica

import (
	"time"

	"github.com/bargedata/barge/metadata"
)

// Config holds the settings of a Core and of the Node around it. Zero values take the defaults, but for Owner.
type Config struct {
	Owner metadata.Owner // where this agent is found; Owner.Peer is needed

	Silence       time.Duration // without a sign of life of the sequencer before an agent takes over, default 3 s
	Backoff       time.Duration // it then waits for its turn, 3/5 of this each, and at random up to 1/5, default 1 s; longer where claims follow one another
	MemberSilence time.Duration // after which a silent agent is no member any more, default 5 s
	SealAfter     time.Duration // of silence, or of a new term, before a session is sealed, default 20 s

	RingBytes       int // of entries kept for followers, default 16 MiB
	RingEntries     int // default 100,000
	PendingCommands int // that are not answered yet, default 10,000; then Submit and Do wait for room
	PendingBytes    int // the same in encoded bytes, default 64 MiB
	Questions       int // callers of Confirm who wait for another agent, default 10,000; further ones wait for room
	Polls           int // calls of Follow that wait here, default 10,000; further ones are answered at once

	// OnInline, when set, is told of every object of this agent that lies in an entry which another agent has appended, before the
	// View shows it: as metadata.SequencerConfig.OnInline. It is called in Step.
	OnInline func(key string, body []byte)
}

// manyAgents is the level that an agent must understand to follow another one.
const manyAgents = 3

// Tick is how often a driver sends a TickEvent.
const Tick = 250 * time.Millisecond

const (
	// hold is how long a call of Follow waits for news, and beat how often the sequencer hears of who follows a relay. A tick more, and it
	// is the second that the others count on.
	hold          = 500 * time.Millisecond
	beat          = 750 * time.Millisecond
	callLimit     = 2 * time.Second         // for a call of Follow, beyond what it waits
	suspicion     = 1500 * time.Millisecond // of silence: others are asked, and the log is read
	leap          = 2 * time.Second         // between two ticks: this process, or its machine, was asleep
	stalled       = 4 * time.Second         // of an append without an outcome: another agent may reach the store better
	longestOff    = 10 * time.Second        // of back-off
	calm          = 30 * time.Second        // since the last hand-over: the back-off is short again
	linger        = 500 * time.Millisecond  // of one who leaves, until all have asked
	askedAtOnce   = 8                       // other agents, at a tick without the sequencer
	replyBytes    = 4 << 20                 // of entries in one answer, or one entry that is larger
	settleRefused = time.Second             // for the rest of the answers of one who says that it does not sequence
)

func (c Config) withDefaults() Config {
	orInt := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	orDuration := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	orDuration(&c.Silence, 3*time.Second)
	orDuration(&c.Backoff, time.Second)
	orDuration(&c.MemberSilence, 5*time.Second)
	orDuration(&c.SealAfter, 20*time.Second)
	orInt(&c.RingBytes, 16<<20)
	orInt(&c.RingEntries, 100_000)
	orInt(&c.PendingCommands, 10_000)
	orInt(&c.PendingBytes, 64<<20)
	orInt(&c.Questions, 10_000)
	orInt(&c.Polls, 10_000)
	return c
}
