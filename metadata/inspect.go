package metadata

// Visitor hears what Inspect reads, in the order of the log. An error ends the walk and comes back as it is.
type Visitor struct {
	// Snapshot gives a whole snapshot, the state before slot seq, before Entry gives that slot. The bytes are the callee's.
	Snapshot func(seq uint64, body []byte) error
	// Entry gives a slot that is whole and chains to the one before.
	Entry func(e LogEntry) error
	// Break tells that the next slot is not the one after the last: what was folded so far leads no further.
	Break func(next uint64) error
}

// Inspection is what a look at all of a log found.
type Inspection struct {
	Boundary  uint64
	Next      uint64 // the end of the log
	Base      uint64 // where readers start: the newest usable snapshot, 0 without one
	HasBase   bool
	Slots     int // read and whole
	Snapshots int // likewise
	Faults    []Fault
	// Leftover keys are of no use any more and go with the next truncation or checkpoint: slots below the boundary, boundaries
	// below the newest, snapshots beyond those kept. Foreign keys are of no form this engine uses. At most
	// MaxInspected of each. A log that does not lie in the store has neither.
	Leftover, Foreign []string
	Objects           int64 // under the log's prefix; 0 for a log that does not lie in the store
	Bytes             int64
}

// MaxInspected bounds how many keys of a kind Inspect names.
const MaxInspected = 10_000

// Fault is one thing wrong with a log.
type Fault struct {
	Key      string // of the object, or what people may call the place
	Seq      uint64
	Snapshot bool  // a snapshot; otherwise a slot
	Missing  bool  // the slot is not there though later ones are; otherwise it is damaged
	Err      error // wraps ErrCorrupt
}
