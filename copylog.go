package barge

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/bucketlog"
	"github.com/bargedata/barge/metadata/pglog"
	"github.com/bargedata/barge/objectstore"
)

// CopyConfig says which log to move where.
type CopyConfig struct {
	From, To string            // --metadata of agents before and after
	Store    objectstore.Store // of the data, behind retries
	Bare     objectstore.Store // the same without them, for the race probe of a store that is to hold the log
	Cluster  string
	Force    bool // take agents whose sessions are open for dead
	IDs      func() [16]byte
	Now      func() time.Time
	Logger   *slog.Logger
}

// Copied is what CopyLog did.
type Copied struct {
	Place   metadata.LogPlace // where the log lies now
	Already bool              // it lay there before: nothing was done
	Entries uint64            // copied
	Next    uint64            // slot that the next append takes
	Sealed  int               // sessions that were open
}

// ErrLogInUse says that an agent seems to be at work on the log; nothing was done.
var ErrLogInUse = errors.New("the metadata log is in use")

const copyOwner = "barge metadata copy"

// CopyLog moves the metadata log of a stopped cluster to another engine or database. The copy is made and compared first; then the old log
// is ended by an entry that no agent goes beyond, which succeeds only if nobody appended meanwhile; then the store is told the new
// place. It can fail or be killed at any point and be called again: agents go on with the old log until it is ended, and with
// neither between that and the end of a later call. Errors: ErrLogInUse; pglog.ErrNotEmpty; OpenLog's; the engines'.
func CopyLog(ctx context.Context, cfg CopyConfig) (Copied, error) {
	place, err := metadata.ReadLogPlace(ctx, cfg.Store)
	if err != nil {
		return Copied{}, fmt.Errorf("place of the metadata log: %w", err)
	}
	if cfg.From == cfg.To || !isPostgres(cfg.From) && !isPostgres(cfg.To) {
		return Copied{}, fmt.Errorf("a log is moved between bucket and a database, or between two databases, not from %s to %s", RedactMetadata(cfg.From), RedactMetadata(cfg.To))
	}
	if there, err := openAt(ctx, cfg, cfg.To); err == nil {
		defer there.Close()
		return Copied{Place: there.Place(), Already: true}, nil
	} else if weather(err) {
		return Copied{}, fmt.Errorf("look at %s: %w", RedactMetadata(cfg.To), err)
	}
	source, err := openAt(ctx, cfg, cfg.From)
	if err != nil {
		return Copied{}, err
	}
	defer source.Close()
	m := &mover{cfg: cfg, place: place, source: source}
	if err := m.run(ctx); err != nil {
		return Copied{}, fmt.Errorf("move the metadata log from %s to %s: %w", RedactMetadata(cfg.From), RedactMetadata(cfg.To), err)
	}
	return m.done, nil
}

// openAt opens the log if it lies there by the store's own word.
func openAt(ctx context.Context, cfg CopyConfig, rawMetadata string) (*OpenedLog, error) {
	log, err := OpenLog(ctx, LogConfig{Metadata: rawMetadata, Store: cfg.Store, Cluster: cfg.Cluster, IDs: cfg.IDs, Now: cfg.Now, Logger: cfg.Logger})
	if err == nil && log.Postgres() && log.Place().N == 0 {
		log.Close()
		return nil, fmt.Errorf("%w: %s is bound to no store", ErrLogPlace, RedactMetadata(rawMetadata))
	}
	return log, err
}

// mover is one move under way.
type mover struct {
	cfg    CopyConfig
	place  metadata.LogPlace // before
	source *OpenedLog
	survey metadata.Survey
	term   uint64 // that this call holds in the source; 0: it has ended already
	done   Copied
}

func (m *mover) run(ctx context.Context) (err error) {
	if m.survey, err = metadata.SurveyLog(ctx, m.source, sleep); err != nil {
		return err
	}
	if !m.survey.Moved {
		if err := m.take(ctx); err != nil {
			return err
		}
	}
	next, err := m.copy(ctx)
	if err != nil {
		return err
	}
	if !m.survey.Moved {
		if err := m.end(ctx); err != nil {
			return err
		}
	}
	return m.tell(ctx, next)
}

// take acquires the source, if nobody seems to be at work on it, so that whoever is can append no more.
func (m *mover) take(ctx context.Context) error {
	for _, s := range m.survey.View.Sessions() {
		if s.Sealed {
			continue
		}
		if m.done.Sealed++; !m.cfg.Force {
			return fmt.Errorf("session %d of the agent at %q is open; stop that agent, or, if it was killed, force the copy: %w", s.ID, s.Agent.Address, ErrLogInUse)
		}
	}
	acquired, err := m.source.Acquire(ctx, copyOwner, 0)
	if err != nil {
		return err
	}
	if acquired.Next != m.survey.End+1 {
		return fmt.Errorf("the log grew from entry %d to %d, so an agent is at work; stop it first: %w", m.survey.End, acquired.Next, ErrLogInUse)
	}
	m.term = acquired.Term
	m.survey.End, m.survey.Term = acquired.Next, acquired.Term
	return nil
}

// copy makes the copy where nobody looks for one yet, and holds it against the source.
func (m *mover) copy(ctx context.Context) (metadata.LogPlace, error) {
	s := m.survey
	log := metadata.LogCopy{
		From: s.From(), Next: s.End, Term: s.Term,
		Snapshot: s.Snapshot.Snapshot, SnapshotSeq: s.Snapshot.SnapshotSeq, HasSnapshot: s.Snapshot.HasSnapshot,
		Origin: m.place.String(), Read: m.read,
	}
	if !log.HasSnapshot && log.From > 0 {
		return metadata.LogPlace{}, fmt.Errorf("%w: no snapshot, and the log begins at %d", metadata.ErrCorrupt, log.From)
	}
	m.done.Entries, m.done.Next = log.Next-log.From, log.Next
	next := metadata.LogPlace{N: m.place.N + 1, Since: m.cfg.Now().UTC().Format(time.RFC3339)}
	if m.place.N == 0 {
		next.N = 2 // 1 is what an agent writes that finds no place: it must not take this one for a fresh cluster's
	}
	copied, err := m.write(ctx, log, &next)
	if err != nil {
		return metadata.LogPlace{}, err
	}
	defer copied.Close()
	return next, m.compare(ctx, copied)
}

// read gives entries of the source, waiting while it lags.
func (m *mover) read(ctx context.Context, from uint64) ([]metadata.LogEntry, error) {
	const readBytes, tries = 8 << 20, 20
	for try := range tries {
		entries, err := m.source.Read(ctx, from, readBytes)
		if err != nil || len(entries) > 0 {
			return entries, err
		}
		if err := sleep(ctx, 10*time.Millisecond<<min(try, 7)); err != nil {
			return nil, err
		}
	}
	return nil, nil // Each tells
}

// write makes the copy, completes its place, and opens it.
func (m *mover) write(ctx context.Context, log metadata.LogCopy, next *metadata.LogPlace) (*OpenedLog, error) {
	if isPostgres(m.cfg.To) {
		to := pglog.Config{URL: m.cfg.To, Cluster: m.cfg.Cluster}
		id, err := pglog.Import(ctx, to, log, m.place.Log, m.cfg.IDs, m.cfg.Logger)
		if err != nil {
			return nil, err
		}
		next.Engine, next.Log, next.Where = metadata.EnginePostgres, id, RedactMetadata(m.cfg.To)
		pg, err := pglog.Open(ctx, to, m.cfg.IDs, m.cfg.Logger)
		if err != nil {
			return nil, err
		}
		return &OpenedLog{engine: pg, place: *next, pg: pg}, nil
	}
	random := m.cfg.IDs()
	if err := probeOnce(ctx, m.cfg.Store, m.cfg.Bare, hex.EncodeToString(random[:])); err != nil {
		return nil, err
	}
	name := m.cfg.IDs()
	next.Engine, next.Prefix = metadata.EngineBucket, metadata.MovedLogPrefix+hex.EncodeToString(name[:])
	cfg := bucketlog.Config{Prefix: next.Prefix}
	if err := bucketlog.Import(ctx, m.cfg.Store, cfg, log, m.cfg.IDs); err != nil {
		return nil, err
	}
	bucket, err := bucketlog.New(m.cfg.Store, cfg, m.cfg.IDs, m.cfg.Logger)
	return &OpenedLog{engine: bucket, place: *next}, err
}

// compare reads the copy as an agent would, and holds its state against the source's.
func (m *mover) compare(ctx context.Context, copied *OpenedLog) error {
	s, err := metadata.SurveyLog(ctx, copied, sleep)
	if err != nil {
		return fmt.Errorf("read the copy back: %w", err)
	}
	want, err := m.state(ctx)
	if err != nil {
		return err
	}
	_, encode := s.View.Freeze()
	if got := encode(); s.End != m.survey.End || s.Moved || !bytes.Equal(got, want) {
		return fmt.Errorf("%w: the copy ends at %d with another state (%d bytes) than the log, which ends at %d (%d bytes)", metadata.ErrCorrupt, s.End, len(got), m.survey.End, len(want))
	}
	return nil
}

// state is that of the source up to what was copied, its newest claim included.
func (m *mover) state(ctx context.Context) ([]byte, error) {
	if !m.survey.Moved {
		again, err := metadata.SurveyLog(ctx, m.source, sleep)
		if err != nil {
			return nil, err
		}
		if again.End != m.survey.End || again.Moved {
			return nil, fmt.Errorf("the log went on to entry %d during the copy: %w", again.End, ErrLogInUse)
		}
		m.survey.View = again.View
	}
	_, encode := m.survey.View.Freeze()
	return encode(), nil
}

// end appends the entry that ends the source. That it gets its slot proves that the copy holds all.
func (m *mover) end(ctx context.Context) error {
	entry := metadata.MoveEntry(m.survey.End, m.term, m.cfg.Now().UnixMilli(), m.survey.View)
	id, body := m.cfg.IDs(), metadata.EncodeEntry(entry)
	const patience = time.Minute // for a store or database that does not answer; a later call goes on
	for waited := time.Duration(0); ; waited += time.Second {
		err := m.source.Append(ctx, m.term, entry.Seq, id, body)
		switch {
		case errors.Is(err, metadata.ErrFenced):
			return fmt.Errorf("an agent took the log during the copy; stop it first: %w: %w", ErrLogInUse, err)
		case errors.Is(err, metadata.ErrUnknown) && ctx.Err() == nil && waited < patience:
			if err := sleep(ctx, time.Second); err != nil {
				return err
			}
		case err != nil:
			return fmt.Errorf("end the old log (run the copy again): %w", err)
		default:
			return nil
		}
	}
}

// tell writes the new place down: from here on agents find the log there.
func (m *mover) tell(ctx context.Context, next metadata.LogPlace) error {
	body, err := next.Encode()
	if err != nil {
		return err
	}
	if _, err = m.cfg.Store.Create(ctx, next.Key(), body); errors.Is(err, objectstore.ErrExists) {
		var now metadata.LogPlace
		if now, err = metadata.ReadLogPlace(ctx, m.cfg.Store); err == nil && now != next {
			err = fmt.Errorf("another copy was faster, the log lies in %s now: %w", now, ErrLogPlace)
		}
	}
	if err != nil {
		return fmt.Errorf("write the new place down (run the copy again): %w", err)
	}
	m.done.Place = next
	return nil
}
