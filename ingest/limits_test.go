package ingest

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
)

func TestByteBudgetServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newByteBudget(100)
		if err := b.acquire(t.Context(), 80); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []int
		for i, n := range []int64{90, 10} {
			go func() {
				if err := b.acquire(t.Context(), n); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
			}()
			synctest.Wait()
		}
		if len(order) != 0 {
			t.Fatalf("%v got past the large one in front", order)
		}
		b.release(80)
		synctest.Wait()
		if len(order) != 2 {
			t.Fatalf("served %v", order)
		}
		if b.inUse() != 100 {
			t.Errorf("%d in use, want 100", b.inUse())
		}
	})
}

func TestByteBudgetCanceledWaiterHoldsNothingAndLetsOthersPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newByteBudget(100)
		b.force(150) // memory that existed already
		ctx, cancel := context.WithCancel(t.Context())
		var first error
		go func() { first = b.acquire(ctx, 100) }()
		synctest.Wait()
		passed := false
		go func() { passed = b.acquire(t.Context(), 5) == nil }()
		synctest.Wait()
		b.release(60) // 90 in use: the small one would fit
		synctest.Wait()
		if passed {
			t.Fatal("the second passed the first")
		}
		cancel()
		synctest.Wait()
		if !errors.Is(first, context.Canceled) || !passed {
			t.Fatalf("first: %v, second passed: %v", first, passed)
		}
		b.release(95)
		if b.inUse() != 0 {
			t.Errorf("%d in use at the end", b.inUse())
		}
	})
}

func TestByteBudgetGrantsMoreThanItHasToOneAlone(t *testing.T) {
	b := newByteBudget(10)
	if err := b.acquire(t.Context(), 50); err != nil {
		t.Fatal(err)
	}
	b.release(50)
}

func TestDoormanCountsByAddress(t *testing.T) {
	d := newDoorman(3, 2)
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for i, c := range []struct {
		ip   netip.Addr
		want string
	}{{a, ""}, {a, ""}, {a, refusedConnectionsPerIP}, {b, ""}, {b, refusedConnections}} {
		if got := d.enter(c.ip); got != c.want {
			t.Errorf("%d: %q, want %q", i, got, c.want)
		}
	}
	d.leave(a)
	if got := d.enter(b); got != "" {
		t.Errorf("after one left: %q", got)
	}
	d.leave(a)
	d.leave(b)
	d.leave(b)
	if d.open() != 0 || len(d.perIP) != 0 {
		t.Errorf("%d open, %v", d.open(), d.perIP)
	}
}
