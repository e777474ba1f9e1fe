package metadata

import (
	"context"
	"fmt"
)

// Doer makes a command durable and applied before it answers; *Sequencer is one.
type Doer interface {
	Do(ctx context.Context, cmd Command) (Result, error)
}

// Ask is Do with the result as its own type: Ask[ReplaceResult](ctx, d, Replace{…}). A refusal is in the result's Err. A result of
// another type is ErrCorrupt.
func Ask[R Result](ctx context.Context, d Doer, cmd Command) (R, error) {
	var none R
	res, err := d.Do(ctx, cmd)
	if err != nil {
		return none, err
	}
	r, ok := res.(R)
	if !ok {
		return none, fmt.Errorf("%T was answered %T: %w", cmd, res, ErrCorrupt)
	}
	return r, nil
}
