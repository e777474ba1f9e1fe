package barge

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bargedata/barge/metadata"
)

// A session that was sealed is over, and the agent is not, whoever hears of it first.
func TestWhatEndsASession(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		failure error         // of a part, at once
		sealed  time.Duration // when the node tells, 0: never
		told    time.Duration // when the agent is told to stop, 0: never
		want    bool
	}{
		"told to stop":                         {told: time.Second},
		"sealed":                               {sealed: time.Second, want: true},
		"a part broke":                         {failure: errors.New("listener")},
		"a part broke, sealed later":           {failure: errors.New("listener"), sealed: time.Second},
		"a commit was refused, sealed later":   {failure: fmt.Errorf("batcher: %w", metadata.ErrSessionSealed), sealed: time.Second, want: true},
		"a commit was refused, told to stop":   {failure: fmt.Errorf("batcher: %w", metadata.ErrSessionSealed), told: time.Second},
		"told to stop before it was known why": {told: time.Second, sealed: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				broken, selfSealed := make(chan struct{}), make(chan uint64, 1)
				if c.failure != nil {
					close(broken)
				}
				if c.sealed > 0 {
					time.AfterFunc(c.sealed, func() { selfSealed <- 7 })
				}
				if c.told > 0 {
					time.AfterFunc(c.told, cancel)
				}
				session, sealed := awaitEnd(ctx, broken, &c.failure, selfSealed)
				if sealed != c.want || sealed && session != 7 {
					t.Errorf("session %d, sealed %v, want %v", session, sealed, c.want)
				}
			})
		})
	}
}
