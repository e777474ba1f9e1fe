package pglog

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
)

// WitnessStore is what witnesses need of the object store that holds the data.
type WitnessStore interface {
	Create(ctx context.Context, key string, body []byte) (time.Time, error)
	List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error)
	Delete(ctx context.Context, keys ...string) error
}

// WitnessPrefix is where witnesses lie in the store. A key says all, and its object is empty: meta/witness/<log>/<seq>-<hash>.
const WitnessPrefix = "meta/witness/"

// WitnessInterval is how much time lies between two witnesses of a busy log.
const WitnessInterval = 10 * time.Second

const (
	keptWitnesses = 2
	// lastWitness bounds the witness that is left at the end.
	lastWitness = 5 * time.Second
)

// ErrOlder says that the database lies before what the log had reached, or has gone another way since: an old copy of it was brought
// back, or a standby took over that had not got everything. It is metadata.ErrCorrupt to whoever does not look closer: no agent may go on.
var ErrOlder = fmt.Errorf("the database is older than the store says: %w", metadata.ErrCorrupt)

// Witness says that entry Seq of a log has this hash.
type Witness struct {
	Log  string
	Seq  uint64
	Hash [32]byte
	Key  string
}

// ParseWitness reads a key under WitnessPrefix; ok is false for one that no agent writes.
func ParseWitness(key string) (w Witness, ok bool) {
	log, rest, ok := strings.Cut(strings.TrimPrefix(key, WitnessPrefix), "/")
	if !ok || !strings.HasPrefix(key, WitnessPrefix) || len(log) != 32 {
		return Witness{}, false
	}
	digits, sum, ok := strings.Cut(rest, "-")
	if !ok || len(digits) != 20 || len(sum) != 64 {
		return Witness{}, false
	}
	seq, err := strconv.ParseUint(digits, 10, 64)
	b, hexErr := hex.DecodeString(sum)
	if err != nil || hexErr != nil {
		return Witness{}, false
	}
	w = Witness{Log: log, Seq: seq, Hash: [32]byte(b), Key: key}
	return w, witnessKey(log, seq, w.Hash) == key
}

func witnessKey(log string, seq uint64, sum hash) string {
	return fmt.Sprintf("%s%s/%020d-%x", WitnessPrefix, log, seq, sum[:])
}

// RunWitness leaves a witness of the newest entry that this handle has written, every WitnessInterval while there is a new one, and once
// more when ctx ends. A store that does not answer is asked again at the next turn; the log does not wait for it. It returns nil when
// ctx has ended, and needs Config.Witness.
func (l *Log) RunWitness(ctx context.Context) error {
	var left uint64 // the tip's next of the last witness
	leave := func(ctx context.Context) {
		t := l.currentTip()
		if t.next == 0 || t.next == left {
			return
		}
		if err := l.witness(ctx, t); err != nil {
			l.log.LogAttrs(ctx, slog.LevelWarn, "witness of the log not written, the next turn tries again", slog.String("log", l.schema), slog.Any("err", err))
			return
		}
		left = t.next
	}
	for pause(ctx, WitnessInterval) == nil {
		leave(ctx)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWitness)
	defer cancel()
	leave(last)
	return nil
}

func (l *Log) witness(ctx context.Context, t tip) error {
	key := witnessKey(l.id, t.next-1, t.head)
	if _, err := l.cfg.Witness.Create(ctx, key, nil); err != nil && !errors.Is(err, objectstore.ErrExists) {
		return fmt.Errorf("create %s: %w", key, err)
	}
	all, err := l.witnesses(ctx)
	if err != nil {
		return err
	}
	// Only lower ones go: those of a higher slot are another sequencer's, newer than this one.
	all = slices.DeleteFunc(all, func(w Witness) bool { return w.Seq >= t.next })
	var old []string
	for _, w := range all[:max(0, len(all)-keptWitnesses)] {
		old = append(old, w.Key)
	}
	if len(old) == 0 {
		return nil
	}
	return l.cfg.Witness.Delete(ctx, old...)
}

// witnesses lists those of this log, by their slots.
func (l *Log) witnesses(ctx context.Context) ([]Witness, error) {
	const page = 1000 // far more than are kept
	prefix := WitnessPrefix + l.id + "/"
	var all []Witness
	for after := ""; ; {
		objects, err := l.cfg.Witness.List(ctx, prefix, after, page)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", prefix, err)
		}
		for _, o := range objects {
			after = o.Key
			if w, ok := ParseWitness(o.Key); ok {
				all = append(all, w)
			}
		}
		if len(objects) < page {
			slices.SortStableFunc(all, func(a, b Witness) int { return cmp.Compare(a.Seq, b.Seq) })
			return all, nil
		}
	}
}

// Loss is what a database that is older than its witness has lost.
type Loss struct {
	Witness Witness
	// Next is where the database's log ends; with Differs, it has an entry at Witness.Seq, another one than the witness saw.
	Next    uint64
	Differs bool
	// Newest is when the newest entry that is left was written, by the server's clock; zero without one.
	Newest time.Time
}

func (x Loss) String() string {
	if x.Differs {
		return fmt.Sprintf("entry %d of the log is another one than was acknowledged", x.Witness.Seq)
	}
	newest := "it holds none"
	if !x.Newest.IsZero() {
		newest = "the newest it has is of " + x.Newest.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("entries %d to at least %d of the log are missing (%s)", x.Next, x.Witness.Seq, newest)
}

// Lost holds the database against its witnesses and returns what contradicts them: nothing when all is well. The witnesses are read
// first, so that a log that grows meanwhile is not taken for an older one.
func (l *Log) Lost(ctx context.Context) ([]Loss, error) {
	if l.cfg.Witness == nil {
		return nil, nil
	}
	all, err := l.witnesses(ctx)
	if err != nil {
		return nil, err
	}
	var lost []Loss
	err = l.with(ctx, l.cfg.CallTimeout, func(ctx context.Context, c *pgx.Conn) error {
		for _, w := range all {
			held, found, err := l.slot(ctx, c, w.Seq)
			if err != nil {
				return err
			}
			s, err := l.end(ctx, c, false)
			if err != nil {
				return err
			}
			x := Loss{Witness: w, Next: s.next, Differs: w.Seq < s.next}
			if found && held.hash == w.Hash || w.Seq < s.boundary {
				continue // there, or truncated by a log that had gone on
			}
			var at *time.Time
			if err := c.QueryRow(ctx, l.sql(`SELECT max(at) FROM @.entry WHERE shard = 0 AND seq >= $1`), number(s.next-min(s.next, 100))).Scan(&at); err != nil {
				return err
			}
			if at != nil {
				x.Newest = *at
			}
			lost = append(lost, x)
		}
		return nil
	})
	return lost, err
}

// checkWitness refuses a database that has lost what was acknowledged.
func (l *Log) checkWitness(ctx context.Context) error {
	lost, err := l.Lost(ctx)
	if err != nil {
		return err
	}
	if len(lost) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s. Bring back a newer copy of the database, or let the standby take over that has everything; if there is none, "+
		"`barge metadata accept-loss` tells what is lost and goes on without it", ErrOlder, lost[len(lost)-1])
}

// AcceptLoss takes away the witnesses that lost names, as Lost returned it, so that agents start on what is left. Whatever the log had
// said after that is gone for good: entries will be appended in its place.
func (l *Log) AcceptLoss(ctx context.Context, lost []Loss) error {
	keys := make([]string, len(lost))
	for i, x := range lost {
		keys[i] = x.Witness.Key
	}
	if len(keys) == 0 {
		return nil
	}
	return l.cfg.Witness.Delete(ctx, keys...)
}
