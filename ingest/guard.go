package ingest

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// errPanicked is the error of a part of a request that panicked.
var errPanicked = errors.New("internal error")

// guarded calls f and turns a panic into an error: for the goroutines that handlers start, which nothing else recovers.
func (s *Server) guarded(ctx context.Context, key int16, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			s.log.ErrorContext(ctx, "part of a request panicked", "key", key, "err", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = errPanicked // what went wrong is not the client's to know
		}
	}()
	return f()
}
