package objectstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/bargedata/barge/objectstore"
)

// A writer that must know whether it won puts an id into the body, and reads the object back when the key is taken.
func ExampleWithRetry() {
	ctx := context.Background()
	var store objectstore.Store = objectstore.NewMemory(time.Now)
	store = objectstore.WithRetry(store, objectstore.RetryConfig{}, time.Now, rand.New(rand.NewPCG(1, 2)), slog.New(slog.DiscardHandler))

	claim := func(id string) (won bool, err error) {
		_, err = store.Create(ctx, "claims/leader", []byte(id))
		if !errors.Is(err, objectstore.ErrExists) {
			return err == nil, err
		}
		if !errors.Is(err, objectstore.ErrMaybeOurs) {
			return false, nil // certainly another's
		}
		body, err := store.Get(ctx, "claims/leader", 1<<10)
		return string(body) == id, err
	}
	fmt.Println(claim("agent 1"))
	fmt.Println(claim("agent 2"))
	// Output:
	// true <nil>
	// false <nil>
}
