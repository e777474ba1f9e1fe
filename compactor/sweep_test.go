package compactor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
)

func TestLeftoversAreWhatCanNeverBeCommitted(t *testing.T) {
	key := func(counter uint64) string { return record.ObjectKey(7, counter, "r") }
	listed := []objectstore.Object{{Key: key(1)}, {Key: key(2)}, {Key: key(3)}, {Key: record.SortedObjectKey(7, "m")}, {Key: "wal/1/0000000000000007/else"}}
	known := func(k string) bool { return k == key(1) }
	for name, c := range map[string]struct {
		s    metadata.Session
		own  bool
		want []string
	}{
		"sealed":                {metadata.Session{ID: 7, Sealed: true, NextCounter: 3}, false, []string{key(2), key(3), record.SortedObjectKey(7, "m"), "wal/1/0000000000000007/else"}},
		"open, our own":         {metadata.Session{ID: 7, NextCounter: 3}, true, []string{key(2), record.SortedObjectKey(7, "m")}},
		"open, another agent's": {metadata.Session{ID: 7, NextCounter: 3}, false, nil},
	} {
		if got := Leftovers(c.s, c.own, listed, known); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestSessionsAreSweptAtTheirSealAndTwiceAgain(t *testing.T) {
	times := SweepTimes{Again: time.Hour, Last: 24 * time.Hour, Open: time.Hour}
	const own = metadata.SessionID(9)
	hours := func(h float64) int64 { return int64(h * 3_600_000) }
	sessions := []metadata.Session{
		{ID: 3, Sealed: true, SealedAt: hours(1)},
		{ID: 4, Sealed: true, SealedAt: hours(2)},
		{ID: 8, OpenedAt: hours(2), NextCounter: 5}, // another agent's
		{ID: own, OpenedAt: hours(2), NextCounter: 1},
	}
	done := map[metadata.SessionID]swept{own: {at: hours(2), counter: 1}}
	var got []string
	for h := 2.0; h < 30; h += 0.5 {
		if h == 10 {
			sessions[3].NextCounter = 2
		}
		for range len(sessions) + 1 {
			s, last, ok := nextSweep(sessions, own, done, hours(h), times)
			if !ok {
				break
			}
			got = append(got, fmt.Sprintf("%v:%d", h, s.ID))
			if last {
				got[len(got)-1] += " last"
			}
			done[s.ID] = swept{at: hours(h), counter: s.NextCounter}
		}
	}
	want := []string{"2:3", "2:4", "3:4", "10:9", "25:3 last", "26:4 last"}
	if !slices.Equal(got, want) {
		t.Errorf("swept %v, want %v", got, want)
	}
}

// upload puts an object of the session that nobody commits, as an agent does that dies after the upload.
func (l *lab) upload(session metadata.SessionID, counter uint64) string {
	l.t.Helper()
	key := record.ObjectKey(uint64(session), counter, "lost")
	if err := l.store.Put(l.t.Context(), key, []byte("never committed")); err != nil {
		l.t.Fatal(err)
	}
	return key
}

// rounds runs enough rounds that every sweep which is due has ended.
func (l *lab) rounds(c *Compactor) {
	l.t.Helper()
	for range 10 {
		if err := c.Round(l.t.Context()); err != nil {
			l.t.Fatal(err)
		}
	}
}

// seal ends the lab's session and opens a new one, as an agent does that takes over.
func (l *lab) seal() (old metadata.SessionID) {
	old = l.sess
	l.must(metadata.SealSession{Session: old})
	l.open()
	l.count = 0
	return old
}

func TestUncommittedObjectsOfASealedSessionAreSwept(t *testing.T) {
	l := newLab(t)
	a := l.createTopic("a", map[string]string{"barge.table.commit.interval.ms": "604800000"})
	kept := l.produce(1, a)
	lost := l.upload(l.sess, 100)
	old := l.seal()
	c := l.compactor()
	l.rounds(c)
	if l.exists(lost) {
		t.Errorf("%s is left of a sealed session", lost)
	}
	late := l.upload(old, 101)
	l.rounds(c)
	if !l.exists(late) {
		t.Error("the prefix was listed again at once; nothing asked for it")
	}
	l.clock = l.clock.Add(time.Hour)
	l.rounds(c)
	if l.exists(late) {
		t.Errorf("%s, which landed after the first sweep, is left an hour later", late)
	}
	late = l.upload(old, 102)
	l.clock = l.clock.Add(23 * time.Hour)
	l.rounds(c)
	if l.exists(late) {
		t.Errorf("%s, which landed after the second sweep, is left a day later", late)
	}
	if slices.ContainsFunc(l.view.Sessions(), func(s metadata.Session) bool { return s.ID == old }) {
		t.Error("the session is still in the state after its last sweep")
	}
	if !l.exists(kept) {
		t.Error("I8: an object with runs was swept")
	}
	if got := c.Stats().ObjectsSwept; got != 3 {
		t.Errorf("%d objects counted as swept, want 3", got)
	}
}

// An agent whose clock is behind that of the seals must not sweep the first of the sessions round after round, and the others never.
func TestAClockThatIsBehindKeepsNoSessionFromItsSweep(t *testing.T) {
	l := newLab(t)
	lost := make([]string, 2)
	for i := range lost {
		l.clock = l.clock.Add(time.Minute)
		lost[i] = l.upload(l.sess, 100)
		l.seal()
	}
	l.clock = l.clock.Add(-time.Hour)
	c := l.compactor()
	l.rounds(c)
	for _, key := range lost {
		if l.exists(key) {
			t.Errorf("%s is left of a sealed session", key)
		}
	}
}

func TestAnOpenSessionIsSweptBelowItsCounterOnly(t *testing.T) {
	l := newLab(t)
	a := l.createTopic("a", map[string]string{"barge.table.commit.interval.ms": "604800000"})
	l.count = 10
	kept := l.produce(1, a) // counter 11
	failed, coming := l.upload(l.sess, 5), l.upload(l.sess, 12)
	c := l.compactor()
	l.rounds(c)
	if !l.exists(failed) {
		t.Error("an open session is swept before its time")
	}
	l.clock = l.clock.Add(time.Hour)
	l.rounds(c)
	if l.exists(failed) {
		t.Errorf("%s, whose upload failed, is left", failed)
	}
	if !l.exists(coming) || !l.exists(kept) {
		t.Error("I8: an object that is committed or about to be was swept")
	}
}

// listHook runs once, when a listing has been made and not yet been answered.
type listHook struct {
	objectstore.Store
	lists int
	hook  func()
}

func (s *listHook) List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error) {
	s.lists++
	list, err := s.Store.List(ctx, prefix, after, limit)
	if h := s.hook; h != nil {
		s.hook = nil
		h()
	}
	return list, err
}

func (l *lab) compactorOver(store objectstore.Store) *Compactor {
	base := l.compactor()
	return New(base.cfg, l.view, l, store, base.now, base.random, base.logger)
}

// The race that the order of questions is for: objects that are listed and then committed, the session ahead of what was known.
func TestAnObjectCommittedAfterTheListingIsNotSwept(t *testing.T) {
	l := newLab(t)
	a := l.createTopic("a", map[string]string{"barge.table.commit.interval.ms": "604800000"})
	l.produce(1, a)
	l.clock = l.clock.Add(time.Hour)
	var key string
	store := &listHook{Store: l.store}
	late := &uploadBefore{Store: store, upload: func() { key = l.produceUncommitted(1, a) }}
	store.hook = func() { l.commitLast() }
	c := l.compactorOver(late)
	l.rounds(c)
	if key == "" || !l.exists(key) {
		t.Errorf("I8: %q was committed while the prefix was listed, and swept", key)
	}
	if got := l.view.Sessions()[0].NextCounter; got != 3 {
		t.Fatalf("next counter %d: the object was not committed", got)
	}
}

// uploadBefore uploads before the first listing.
type uploadBefore struct {
	objectstore.Store
	upload func()
}

func (u *uploadBefore) List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error) {
	if up := u.upload; up != nil {
		u.upload = nil
		up()
	}
	return u.Store.List(ctx, prefix, after, limit)
}

func TestAnIdleClusterListsNothing(t *testing.T) {
	l := newLab(t)
	a := l.createTopic("a", map[string]string{"barge.table.commit.interval.ms": "604800000"})
	l.produce(1, a)
	store := &listHook{Store: l.store}
	c := l.compactorOver(store)
	l.clock = l.clock.Add(time.Hour)
	l.rounds(c)
	if store.lists != 1 {
		t.Fatalf("%d listings after an hour with a commit, want 1", store.lists)
	}
	for range 100 {
		l.clock = l.clock.Add(time.Hour)
		l.rounds(c)
	}
	if store.lists != 1 {
		t.Errorf("%d listings in 100 idle hours", store.lists-1)
	}
}

// A prefix of many pages is gone through a page a round, and none of it twice.
func TestALargePrefixIsSweptPageByPage(t *testing.T) {
	l := newLab(t)
	for i := range 2*deleteBatch + 1 {
		l.upload(l.sess, uint64(i+1))
	}
	old := l.seal()
	store := &listHook{Store: l.store}
	c := l.compactorOver(store)
	for round := range 3 {
		if err := c.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		if store.lists != round+1 {
			t.Fatalf("%d listings after round %d", store.lists, round+1)
		}
	}
	left, err := l.store.List(t.Context(), record.SessionPrefix(uint64(old)), "", 10)
	if err != nil || len(left) != 0 {
		t.Errorf("%d objects are left (%v)", len(left), err)
	}
}

// A listing or a deletion that fails is made again, and a failure keeps no other work.
func TestASweepThatFailsIsRepeated(t *testing.T) {
	l := newLab(t)
	lost := l.upload(l.sess, 1)
	l.seal()
	store := &failingDelete{Store: l.store, fail: 1}
	c := l.compactorOver(store)
	if err := c.Round(t.Context()); !errors.Is(err, objectstore.ErrUnknown) {
		t.Fatalf("round: %v, want the store's error", err)
	}
	l.clock = l.clock.Add(firstWait)
	l.rounds(c)
	if l.exists(lost) {
		t.Error("what could not be deleted at once was never tried again")
	}
}

type failingDelete struct {
	objectstore.Store
	fail int
}

func (f *failingDelete) Delete(ctx context.Context, keys ...string) error {
	if f.fail > 0 {
		f.fail--
		return fmt.Errorf("delete: %w", objectstore.ErrUnknown)
	}
	return f.Store.Delete(ctx, keys...)
}
