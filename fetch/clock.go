package fetch

import (
	"context"
	"time"
)

// Clock is what a Reader waits by. Without one it is the time package; a simulation has its own, since in one goroutine nobody may stand still.
// Safe for concurrent use.
type Clock interface {
	// WithTimeout is context.WithTimeout.
	WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc)
	// After is time.After.
	After(d time.Duration) <-chan time.Time
	// Wait returns when done is closed or ctx has ended.
	Wait(ctx context.Context, done <-chan struct{})
}

// realClock is the time package.
type realClock struct{}

// WithTimeout implements Clock.
func (realClock) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d)
}

// After implements Clock.
func (realClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Wait implements Clock.
func (realClock) Wait(ctx context.Context, done <-chan struct{}) {
	select {
	case <-done:
	case <-ctx.Done():
	}
}
