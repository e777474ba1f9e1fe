package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// readers are consumer groups of ordinary clients, each with a member in every zone.
type readers struct {
	groups         int
	stop           context.CancelFunc
	work           sync.WaitGroup
	bytes, records atomic.Int64 // bytes of keys and values
}

// assignTimeout is how long groups may take to come together.
const assignTimeout = 60 * time.Second

// startReaders starts groups that read from the end on, and waits until they have all partitions.
func startReaders(ctx context.Context, brokers []string, groups int, cfg ClusterConfig, name string) (*readers, error) {
	working, stop := context.WithCancel(ctx)
	r := &readers{groups: groups, stop: stop}
	held := make([]atomic.Int64, groups) // partitions
	for g := range groups {
		for zone := range cfg.Zones {
			client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ClientID(clientID+",zone="+zoneName(zone)), kgo.Rack(zoneName(zone)),
				kgo.ConsumerGroup(fmt.Sprintf("bench-%s-%d", name, g)), kgo.ConsumeTopics(zonesTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()),
				kgo.FetchMaxWait(time.Second), kgo.DisableAutoCommit(), kgo.Balancers(kgo.RangeBalancer()), kgo.MetadataMinAge(time.Second),
				kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) { held[g].Add(int64(len(ps[zonesTopic]))) }),
				kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) {
					held[g].Add(-int64(len(ps[zonesTopic])))
				}),
				kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) {
					held[g].Add(-int64(len(ps[zonesTopic])))
				}))
			if err != nil {
				r.close()
				return nil, fmt.Errorf("a consumer of group %d: %w", g, err)
			}
			r.work.Go(func() { r.read(working, client) })
		}
	}
	timer := time.NewTimer(assignTimeout)
	defer timer.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ready := 0
		for g := range held {
			if held[g].Load() == int64(cfg.Partitions) {
				ready++
			}
		}
		if ready == groups {
			break
		}
		select {
		case <-tick.C:
		case <-timer.C:
			r.close()
			return nil, fmt.Errorf("%d of %d groups have all partitions after %v", ready, groups, assignTimeout)
		case <-ctx.Done():
			r.close()
			return nil, ctx.Err()
		}
	}
	if groups == 0 {
		return r, nil
	}
	return r, pause(ctx, 3*time.Second) // until every member has found the end
}

// read polls until ctx ends.
func (r *readers) read(ctx context.Context, client *kgo.Client) {
	defer client.Close()
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		fetches.EachRecord(func(rec *kgo.Record) { r.bytes.Add(int64(len(rec.Key) + len(rec.Value))) })
		r.records.Add(int64(fetches.NumRecords()))
	}
}

// readPatience is how long groups may take to read the rest when nothing comes any more.
const readPatience = 10 * time.Second

// wait waits until all groups have read so many records, or nothing comes any more.
func (r *readers) wait(ctx context.Context, written int64) error {
	if r.groups == 0 {
		return nil
	}
	last, at := r.records.Load(), time.Now()
	for r.records.Load() < written*int64(r.groups) {
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		if now := r.records.Load(); now != last {
			last, at = now, time.Now()
		}
		if time.Since(at) > readPatience {
			return nil // the result tells how much it was
		}
	}
	return nil
}

// close ends the readers.
func (r *readers) close() {
	r.stop()
	r.work.Wait()
}
