package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// writers are ordinary clients that write to many topics, a record at a time.
type writers struct {
	cfg     TopicsConfig
	clients []*kgo.Client
	values  [][]byte

	mu      sync.Mutex
	latency histogram
	bytes   int64 // of values, acknowledged
	records int64
	failed  int64
}

// createBatch is how many topics a request makes.
const createBatch = 1000

func newWriters(cfg TopicsConfig, brokers []string) (*writers, error) {
	w := &writers{cfg: cfg}
	rng := rand.New(rand.NewPCG(1, 0x746f70696373))
	for range 1000 {
		w.values = append(w.values, PayloadLogs.value(rng, cfg.RecordBytes))
	}
	for i := range cfg.Clients {
		id := fmt.Sprintf("%s-%d", clientID, i)
		if cfg.Zones > 0 {
			id += ",zone=" + zoneName(i%cfg.Zones)
		}
		client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ClientID(id), kgo.ProducerLinger(50*time.Millisecond),
			kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordDeliveryTimeout(time.Minute), kgo.RecordPartitioner(kgo.ManualPartitioner()),
			kgo.MaxBufferedRecords(100_000))
		if err != nil {
			w.close()
			return nil, fmt.Errorf("brokers %v: %w", brokers, err)
		}
		w.clients = append(w.clients, client)
	}
	return w, nil
}

func (w *writers) close() {
	for _, c := range w.clients {
		c.Close()
	}
}

func topicName(i int) string { return fmt.Sprintf("service-%05d.events", i) }

// createTopics makes all topics, some requests at a time.
func (w *writers) createTopics(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	admin := kadm.NewClient(w.clients[0])
	for first := 0; first < w.cfg.Topics; first += createBatch {
		g.Go(func() error {
			var names []string
			for i := first; i < min(first+createBatch, w.cfg.Topics); i++ {
				names = append(names, topicName(i))
			}
			made, err := admin.CreateTopics(ctx, 1, -1, forEver(), names...)
			if err != nil {
				return fmt.Errorf("make %d topics: %w", len(names), err)
			}
			for _, t := range made {
				if t.Err != nil {
					return fmt.Errorf("make topic %s: %w", t.Topic, t.Err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// write writes at the rate for so long, and waits until all is answered.
func (w *writers) write(ctx context.Context, d time.Duration) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, client := range w.clients {
		first, end := i*w.cfg.Topics/len(w.clients), (i+1)*w.cfg.Topics/len(w.clients)
		g.Go(func() error { return w.writeOne(ctx, client, first, end, d) })
	}
	return g.Wait()
}

// writeOne writes to the topics from first to end by turns.
func (w *writers) writeOne(ctx context.Context, client *kgo.Client, first, end int, d time.Duration) error {
	perSecond := float64(w.cfg.Rate) / float64(w.cfg.RecordBytes) * float64(end-first) / float64(w.cfg.Topics)
	begin, sent := time.Now(), 0
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for time.Since(begin) < d {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		for due := int(time.Since(begin).Seconds() * perSecond); sent < due; sent++ {
			at := begin.Add(time.Duration(float64(sent) / perSecond * float64(time.Second)))
			r := &kgo.Record{Topic: topicName(first + sent%(end-first)), Value: w.values[(sent+sent/(end-first)*37)%len(w.values)]}
			client.Produce(ctx, r, func(r *kgo.Record, err error) { w.done(r, at, err) })
		}
	}
	if err := client.Flush(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("wait for the last answers: %w", err)
	}
	return ctx.Err()
}

func (w *writers) done(r *kgo.Record, due time.Time, err error) {
	took := time.Since(due)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.failed++
		return
	}
	w.latency.add(took)
	w.records++
	w.bytes += int64(len(r.Value))
}
