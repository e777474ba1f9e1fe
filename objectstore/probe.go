package objectstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	probeWriters  = 16
	probeKeys     = 20
	probeAttempts = 5 // of the calls outside the race, where an unknown outcome proves nothing
	probeCleanup  = 30 * time.Second
)

// Probe finds out whether Create is atomic: 16 writers race for each of 20 keys, spread over all endpoints, and exactly
// one may win each; then a further Create through every endpoint must get ErrExists, and every endpoint must show the
// winner's bytes. In the end every endpoint must list all keys, in order. Keys lie under prefix + rnd, with rnd different
// for every probe; they are deleted in the end.
// Endpoints are drivers (all ways to one bucket) without retries, which would blur who won.
//
// Errors: ErrNotAtomic - the metadata log must not live in this store; the message names the way out. ErrListing - the same,
// for nothing of ours finds its objects there. Any other error
// (ErrDenied, ErrNoBucket, ErrUnknown, the context's) is the store's own: the probe came to no result.
func Probe(ctx context.Context, endpoints []Store, prefix, rnd string) (err error) {
	if len(endpoints) == 0 {
		return errors.New("probe: no endpoints")
	}
	p := probe{endpoints: endpoints, prefix: prefix + rnd}
	defer func() {
		// Also when ctx has ended: litter in the bucket would stay for good.
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeCleanup)
		defer cancel()
		if cleanErr := again(func() error { return endpoints[0].Delete(cleanup, p.keys...) }); cleanErr != nil && err == nil {
			err = fmt.Errorf("probe: clean up: %w", cleanErr)
		}
	}()
	for n := range probeKeys {
		if err := p.race(ctx, n); err != nil {
			return fmt.Errorf("probe: %w", err)
		}
	}
	for i, endpoint := range endpoints {
		if err := p.list(ctx, endpoint); err != nil {
			return fmt.Errorf("probe: endpoint %d of %d: %w", i+1, len(endpoints), err)
		}
	}
	return nil
}

type probe struct {
	endpoints []Store
	prefix    string
	keys      []string // to delete
}

func probeBody(writer int) string { return fmt.Sprintf("barge probe, writer %02d", writer) }

func (p *probe) race(ctx context.Context, n int) error {
	key := fmt.Sprintf("%s/%02d", p.prefix, n)
	p.keys = append(p.keys, key)
	errs := make([]error, probeWriters)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for w := range errs {
		// n shifts the endpoints, so that each of them is first in line for some keys.
		endpoint := p.endpoints[(w+n)%len(p.endpoints)]
		wg.Go(func() {
			<-start
			_, errs[w] = endpoint.Create(ctx, key, []byte(probeBody(w)))
		})
	}
	close(start)
	wg.Wait()
	possible, err := winners(key, errs)
	if err != nil {
		return err
	}
	for i, endpoint := range p.endpoints {
		if err := settled(ctx, endpoint, key, possible); err != nil {
			return fmt.Errorf("endpoint %d of %d: %w", i+1, len(p.endpoints), err)
		}
	}
	return nil
}

// winners judges one race. It returns the writers whose bytes the object may hold: the one winner, or if nobody knows to
// have won, all whose outcome is unknown (some stores answer 409 to losers, and networks lose answers).
func winners(key string, errs []error) (possible map[string]bool, err error) {
	won, unknown := map[string]bool{}, map[string]bool{}
	for w, err := range errs {
		switch {
		case err == nil:
			won[probeBody(w)] = true
		case errors.Is(err, ErrUnknown), errors.Is(err, ErrMaybeOurs):
			unknown[probeBody(w)] = true
		case !errors.Is(err, ErrExists):
			return nil, err
		}
	}
	switch {
	case len(won) > 1:
		return nil, notAtomic("%d of %d writers racing for %s were told that they had created it", len(won), len(errs), key)
	case len(won) == 1:
		return won, nil
	case len(unknown) == len(errs):
		return nil, fmt.Errorf("create %s: no answer to any of %d writers: %w", key, len(errs), errs[0])
	case len(unknown) > 0:
		return unknown, nil
	default:
		return nil, notAtomic("%d writers raced for the new key %s and all were told that it existed", len(errs), key)
	}
}

// settled checks that nobody can create key any more, and that a possible winner's bytes are still there.
func settled(ctx context.Context, endpoint Store, key string, possible map[string]bool) error {
	err := again(func() error {
		_, err := endpoint.Create(ctx, key, []byte("barge probe, too late"))
		return err
	})
	if err == nil {
		return notAtomic("%s could be created a second time", key)
	}
	if !errors.Is(err, ErrExists) {
		return err
	}
	var body []byte
	if err := again(func() (err error) {
		body, err = endpoint.Get(ctx, key, 1<<10)
		return err
	}); err != nil {
		return err
	}
	if !possible[string(body)] {
		return notAtomic("%s holds %q, which is not what its one winner wrote", key, body)
	}
	return nil
}

// list checks that endpoint lists the keys made so far: all of them, in order.
func (p *probe) list(ctx context.Context, endpoint Store) error {
	var objects []Object
	if err := again(func() (err error) {
		objects, err = endpoint.List(ctx, p.prefix+"/", "", probeKeys+1)
		return err
	}); err != nil {
		return err
	}
	listed := make([]string, len(objects))
	for i, o := range objects {
		listed[i] = o.Key
	}
	if !slices.Equal(listed, p.keys) {
		return fmt.Errorf("%w: %d objects were made from %s to %s, listed are %q", ErrListing, len(p.keys), p.keys[0], p.keys[len(p.keys)-1], listed)
	}
	return nil
}

func again(call func() error) (err error) {
	for range probeAttempts {
		if err = call(); !errors.Is(err, ErrUnknown) {
			return err
		}
	}
	return err
}

func notAtomic(format string, args ...any) error {
	return fmt.Errorf("%w: %s. The metadata log cannot live in this store: use one whose conditional PUT (If-None-Match: *) is atomic, "+
		"or keep the log in PostgreSQL with --metadata postgres://host/database", ErrNotAtomic, fmt.Sprintf(format, args...))
}
