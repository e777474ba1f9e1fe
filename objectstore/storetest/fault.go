package storetest

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/bargedata/barge/objectstore"
)

// Fault is one way for a call to go wrong, or one thing that happened to a write or an answer on the way.
type Fault int8

// The faults that a call can be given, by Script or by chance. The errors are those a driver would return. Where a fault
// does not fit the method (a late read, a truncated write), the call gets none.
const (
	NoFault        Fault = iota
	FailBefore           // ErrUnknown, nothing has happened (a 503, a refused connection)
	FailAfter            // the call has its effect, its answer is lost (a time-out, a reset)
	Late                 // a write: ErrUnknown, nothing has happened yet; the effect comes at a later call or by Land
	ConflictBefore       // a Create: 409, which is ErrUnknown; nothing has happened
	ConflictAfter        // a Create: 409, which is ErrUnknown; the object is there
	OwnExists            // a Create: took effect, was repeated by a layer below, and answers ErrExists
	OwnMarked            // the same, where that layer says ErrMaybeOurs beside it
	Stall                // nothing happens until the context ends
	StallAfter           // the call has its effect, then nothing happens until the context ends
	Delay                // a straggler: the call succeeds, late; a write whose context ends before is as Late
	Truncate             // a read: the body is cut short and that shows, ErrUnknown
	Torn                 // a read: wrong bytes and no error: one flipped, the end zeroed, or (Get) the end missing
	Full                 // ErrFull, nothing has happened
	Deny                 // ErrDenied, nothing has happened
	numCallFaults
)

// What Count and Counts tell beside the calls' faults.
const (
	Unavailable       = numCallFaults + iota // a call inside a burst: as FailBefore
	Landed                                   // a late write took effect
	LandedAfterGone                          // of these: after a read had answered that there is nothing
	LandedAfterDelete                        // of these: after the key had been deleted
	LandedRefused                            // a late Create found its key taken: no effect
	Raced                                    // a Create checked first and wrote later
	SkewedDate                               // Create told a time that is not the store's
	NoDate                                   // Create told no time
	Unordered                                // a listing out of order
	numFaults
)

func (f Fault) String() string {
	names := [numFaults]string{
		NoFault: "none", FailBefore: "fail_before", FailAfter: "fail_after", Late: "late", ConflictBefore: "conflict_before",
		ConflictAfter: "conflict_after", OwnExists: "own_exists", OwnMarked: "own_exists_marked", Stall: "stall", StallAfter: "stall_after",
		Delay: "delay", Truncate: "truncate", Torn: "torn", Full: "full", Deny: "deny", Unavailable: "unavailable", Landed: "landed",
		LandedAfterGone: "landed_after_gone", LandedAfterDelete: "landed_after_delete", LandedRefused: "landed_refused", Raced: "raced",
		SkewedDate: "skewed_date", NoDate: "no_date", Unordered: "unordered",
	}
	if f < 0 || f >= numFaults || names[f] == "" {
		return "invalid"
	}
	return names[f]
}

// fits tells whether a call of op can go wrong in this way.
func (f Fault) fits(op objectstore.Op) bool {
	switch f {
	case Late:
		return op == objectstore.OpCreate || op == objectstore.OpPut || op == objectstore.OpDelete
	case ConflictBefore, ConflictAfter, OwnExists, OwnMarked:
		return op == objectstore.OpCreate
	case Truncate, Torn:
		return op == objectstore.OpGet || op == objectstore.OpGetRange
	default:
		return f > NoFault && f < numCallFaults
	}
}

// FaultConfig gives the probability of each fault per call, tried in the order of the fields, and their size.
type FaultConfig struct {
	FailBefore, FailAfter, Late, ConflictBefore, ConflictAfter, OwnExists, OwnMarked, Truncate, Delay float64
	// Torn is for callers that check what they read: the store itself says nothing. See Only.
	Torn float64

	// Burst starts a run of BurstCalls calls, of any method, that all fail as FailBefore.
	Burst      float64
	BurstCalls int
	// Land is the chance that one late write lands, before a call and again after it; five times that after a call that
	// found nothing under the write's key or deleted it. Zero means 0.1 when Late is above zero, and else that writes
	// land by the method Land alone.
	Land float64
	// DelayMin and DelayMax bound Delay; both zero mean 2 s and 10 s.
	DelayMin, DelayMax time.Duration

	// Raced is the chance that a Create looks whether the key is free, waits for RacedFor (zero: 1 ms) and then writes,
	// as stores do whose conditional writes are not atomic. Such a Create tells no time.
	Raced    float64
	RacedFor time.Duration
	// Unordered makes listings come in no order, page by page, as those of S3 Express do. That breaks the contract of
	// objectstore.Store: drivers refuse such servers, and so does the probe.
	Unordered bool
	// DateSkew is added to each time that Create tells, and beside it a random amount of at most DateJump, either way.
	// NoDate is the chance that it tells none. Differences near the log's slot life (24 h) are beyond what it can bear.
	DateSkew, DateJump time.Duration
	NoDate             float64

	// Only, when not nil, limits all of the above, Script and Land excepted, to calls for which it returns true. For
	// Delete key is the first one, for List the prefix.
	Only func(op objectstore.Op, key string) bool
	// Sleep waits for d and returns ctx's error when that ends before. Nil: a real timer.
	Sleep func(ctx context.Context, d time.Duration) error
}

// roll draws a fault that fits op.
func (c *FaultConfig) roll(rng *rand.Rand, op objectstore.Op) Fault {
	roll := rng.Float64()
	for _, choice := range []struct {
		fault Fault
		p     float64
	}{
		{FailBefore, c.FailBefore},
		{FailAfter, c.FailAfter},
		{Late, c.Late},
		{ConflictBefore, c.ConflictBefore},
		{ConflictAfter, c.ConflictAfter},
		{OwnExists, c.OwnExists},
		{OwnMarked, c.OwnMarked},
		{Truncate, c.Truncate},
		{Delay, c.Delay},
		{Torn, c.Torn},
	} {
		if !choice.fault.fits(op) {
			continue // so that each fault has its own probability on every method
		}
		if roll < choice.p {
			return choice.fault
		}
		roll -= choice.p
	}
	return NoFault
}

func (c *FaultConfig) delay(rng *rand.Rand) time.Duration {
	low, high := c.DelayMin, c.DelayMax
	if low == 0 && high == 0 {
		low, high = 2*time.Second, 10*time.Second
	}
	if high <= low {
		return low
	}
	return low + time.Duration(rng.Int64N(int64(high-low)))
}

func (c *FaultConfig) landChance() float64 {
	if c.Land == 0 && c.Late > 0 {
		return 0.1
	}
	return c.Land
}

// realSleep is the default of FaultConfig.Sleep.
func realSleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
