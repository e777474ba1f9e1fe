package group

import (
	"time"

	"github.com/bargedata/barge/record"
)

// Event is something that happens to a group: a request, or Saved, Abandon, Tick. The concrete types are the structs of
// this file, and Beat.
type Event interface{ event() }

// Join is a member's wish to be in the next generation. It is answered when that generation begins.
type Join struct {
	Ticket       Ticket
	MemberID     string // "": the member has none yet
	NewID        string // the id a new member gets; unused otherwise
	InstanceID   string // "": not static
	ClientID     string
	Host         string
	Session      time.Duration
	Rebalance    time.Duration // 0 or less: as Session
	ProtocolType string
	Protocols    []Protocol // owned by the group from here on
	NeedID       bool       // the client knows MEMBER_ID_REQUIRED (version 4 and later)
	MaySkip      bool       // the client knows SkipAssignment (version 9 and later)
}

// Sync asks for the member's assignment; the leader's carries everybody's.
type Sync struct {
	Ticket       Ticket
	MemberID     string
	InstanceID   string
	Generation   int32
	ProtocolType *string // nil: not told
	Protocol     *string
	Assignments  []Assignment
}

// Assignment is what the leader gives one member. The bytes are owned by the group from here on.
type Assignment struct {
	MemberID string
	Bytes    []byte
}

// Heartbeat is a sign of life.
type Heartbeat struct {
	Ticket     Ticket
	MemberID   string
	InstanceID string
	Generation int32
}

// Leave takes members out of the group.
type Leave struct {
	Ticket  Ticket
	Members []Leaver
}

// Leaver names a member by its id, by its instance id, or by both.
type Leaver struct {
	MemberID, InstanceID string
}

// Abandon says that nobody waits for the answer to a Join or Sync any more, usually because the connection is gone.
type Abandon struct{ Ticket Ticket }

// Saved tells the fate of a save: everything up to Revision is durable when Code is none.
type Saved struct {
	Revision uint64
	Code     Code
}

// Tick lets time pass: due at Wake, harmless at any other time.
type Tick struct{}

func (Join) event()      {}
func (Sync) event()      {}
func (Heartbeat) event() {}
func (Leave) event()     {}
func (Abandon) event()   {}
func (Saved) event()     {}
func (Tick) event()      {}

// Reply answers one ticket. Which fields mean something follows from the request.
type Reply struct {
	Ticket       Ticket
	Code         Code
	MemberID     string
	Generation   int32
	ProtocolType string
	Protocol     string
	Leader       string
	Skip         bool // Join: the leader must not compute assignments
	Members      []JoinedMember
	Assignment   []byte
	Left         []Code // Leave: one for each Leaver

	// Of a Beat, whose epoch is Generation.
	Assigned   bool               // Partitions are what the member has now; false: as before
	Partitions []record.Partition // sorted
	Text       string             // beside a code
}

// JoinedMember is one member as the leader sees it.
type JoinedMember struct {
	ID, InstanceID string
	Metadata       []byte
}

// Output is what a step wants done: answers to send and, with Save, the group's Snapshot to be made durable and
// reported with Saved. Replies that depend on the save come out of that later step.
type Output struct {
	Replies []Reply
	Save    bool
}

func (o *Output) reply(r Reply) {
	if r.Ticket != 0 {
		o.Replies = append(o.Replies, r)
	}
}

func (o *Output) refuse(t Ticket, code Code) { o.reply(Reply{Ticket: t, Code: code, Generation: -1}) }
