package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"connectrpc.com/connect"
)

var (
	// ErrUnreachable is a call that got no answer: whether it had an effect is not known. Where the address refused the
	// connection, errors.Is finds syscall.ECONNREFUSED in it.
	ErrUnreachable = errors.New("no answer from the agent")
	// ErrWrongSecret is an agent that does not know this cluster's secret.
	ErrWrongSecret = errors.New("it belongs to another cluster, or its --cluster-secret differs from this agent's")
	// ErrOtherCluster is an agent that knows the secret and serves another cluster.
	ErrOtherCluster = errors.New("it belongs to another cluster")
	// ErrTooLarge is a message or an object over the cap. Nothing was done.
	ErrTooLarge = errors.New("too large for a call between agents")
	// ErrNotFound is an object that is not there, as Objects.HandleRead found.
	ErrNotFound = errors.New("no such object")
	// ErrBusy is an agent that has as much in hand as it takes. Nothing was done.
	ErrBusy = errors.New("the agent has too much in hand")
)

// callError names the call, the address and what to make of the failure.
func callError(ctx context.Context, what, addr string, err error) error {
	return fmt.Errorf("peer %s: %s: %w", addr, what, classify(ctx, err))
}

func classify(ctx context.Context, err error) error {
	var unknown x509.UnknownAuthorityError
	var notTLS tls.RecordHeaderError
	switch {
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrOtherCluster):
		return err
	case errors.As(err, &unknown):
		return ErrWrongSecret
	case errors.As(err, &notTLS):
		return fmt.Errorf("%w: what listens there speaks no TLS: is it the --peer address of an agent? %w", ErrUnreachable, err)
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrUnreachable, context.Cause(ctx))
	}
	switch connect.CodeOf(err) {
	case connect.CodeResourceExhausted, connect.CodeOutOfRange:
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case connect.CodeNotFound:
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case connect.CodeAborted:
		return fmt.Errorf("%w: %w", ErrBusy, err)
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeCanceled, connect.CodeUnknown, connect.CodeInternal:
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	default:
		return err
	}
}
