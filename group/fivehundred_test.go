package group

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// TestFiveHundredMembers brings a group of each protocol to its size and through the loss of a member, and tells what it cost. Clock and
// log are simulated: the log takes 20 ms a write, so the times told are those that members wait; the seconds of work are real.
func TestFiveHundredMembers(t *testing.T) {
	const members = 500
	heap := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / (1 << 20)
	}
	for _, protocol := range []string{"classic", "consumer"} {
		t.Run(protocol, func(t *testing.T) {
			began, before := time.Now(), heap()
			synctest.Test(t, func(t *testing.T) {
				f := newFakeMetadata()
				f.topics[0].Partitions = 1000
				c, _ := start(t, f, "a", nil)
				var size int
				if protocol == "classic" {
					all := stable(t, c, members)
					s, done := stateOf(c, "g")
					_, value := s.Snapshot()
					size = len(value)
					done()
					t.Logf("%d members are in generation %d", len(all), all[0].generation)
				} else {
					all, stops := startConsumers(t, c, members, "orders")
					since := time.Now()
					settle := func(what string, n int) {
						t.Helper()
						for range 600 {
							time.Sleep(100 * time.Millisecond)
							if g := describeConsumers(t, c, "g"); g.State == "Stable" && len(g.Members) == n {
								t.Logf("%s: stable after %v", what, time.Since(since))
								return
							}
						}
						t.Fatalf("%s: not stable within a minute", what)
					}
					settle("500 join at once", members)
					time.Sleep(time.Second) // what the coordinator has decided is told once it is written
					checkShared(t, "joined", 1000, all...)
					stops[0]()
					time.Sleep(c.cfg.ConsumerSession)
					since = time.Now()
					settle("one is gone", members-1)
					time.Sleep(6 * time.Second) // everybody beats once more
					checkShared(t, "one less", 1000, all[1:]...)
					c.shards[ShardOf("g")].mu.Lock()
					_, value := c.shards[ShardOf("g")].groups["g"].state.Snapshot()
					c.shards[ShardOf("g")].mu.Unlock()
					size = len(value)
				}
				t.Logf("%d commands written, the group's record has %d bytes", len(f.cmds), size)
				if size > c.cfg.MaxSavedBytes {
					t.Errorf("a record of %d bytes is saved without members", size)
				}
				t.Logf("heap %.1f MiB more, with the members", heap()-before)
			})
			t.Logf("%.1f s of work", time.Since(began).Seconds())
		})
	}
}
