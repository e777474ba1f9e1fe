package compactor

import "time"

// Waits between tries of one piece of work that fails: doubled each time.
const (
	firstWait = time.Second
	lastWait  = 5 * time.Minute
)

// backoffs keeps a wait for each piece of work that failed, so that a broken topic, table or object is tried ever less often and
// delays nobody else. It holds an entry for each failing piece, at most a few a topic, and forgets it with the first success.
type backoffs map[string]backoff

type backoff struct {
	wait time.Duration
	next time.Time
}

// ready reports whether the work may be tried at now.
func (b backoffs) ready(work string, now time.Time) bool { return !now.Before(b[work].next) }

// done notes how a try at now ended, and returns its error.
func (b backoffs) done(work string, now time.Time, err error) error {
	if err == nil {
		delete(b, work)
		return nil
	}
	wait := min(max(2*b[work].wait, firstWait), lastWait)
	b[work] = backoff{wait: wait, next: now.Add(wait)}
	return err
}

// hold lets the work rest for the first wait, without a failure being noted.
func (b backoffs) hold(work string, now time.Time) {
	b[work] = backoff{wait: b[work].wait, next: now.Add(firstWait)}
}
