package barge

import (
	"context"

	"github.com/bargedata/barge/metadata"
)

// SealForTest seals the present session of the agent, as the others do when they take it for dead.
func (a *Agent) SealForTest(ctx context.Context) error {
	return a.seal(ctx, a.answers.node.Load(), metadata.SessionID(a.session.Load()))
}
