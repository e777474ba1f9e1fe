package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/bargedata/barge/record"
)

const (
	fetchVersion      = 12 // the last that names topics
	fetchWait         = 250 * time.Millisecond
	fetchBytes        = 16 << 20
	fetchPartition    = 1 << 20 // bytes; Kafka's default of max.partition.fetch.bytes
	maxFetchReply     = 256 << 20
	fillDuration      = 2 * time.Minute // at most, until Config.TotalBytes are written
	consumeNoProgress = 30 * time.Second
)

// Consume measures how an agent serves consumers: what lies there, or with Config.Tail what is being written.
func Consume(ctx context.Context, cfg Config, parts Parts) (Result, error) {
	result := newResult("consume", cfg, parts)
	r, err := begin(ctx, cfg, parts)
	if err == nil {
		if cfg.Tail {
			err = r.tail(ctx, &result)
		} else {
			err = r.catchUp(ctx, &result)
		}
	}
	err = errors.Join(err, r.end())
	result.Machine.LoadAfter = loadAverage()
	result.sumUp()
	return result, err
}

// catchUp reads a topic from its start to the end it has now.
func (r *run) catchUp(ctx context.Context, result *Result) error {
	wanted, err := r.fill(ctx)
	if err != nil {
		return err
	}
	leaders, err := r.cluster.topic(ctx, r.cfg.Topic, r.cfg.Partitions)
	if err != nil {
		return err
	}
	from, err := r.cluster.ends(ctx, r.cfg.Topic, r.cfg.Partitions, false)
	if err != nil {
		return err
	}
	to, err := r.cluster.ends(ctx, r.cfg.Topic, r.cfg.Partitions, true)
	if err != nil {
		return err
	}
	consumers := share(routes(leaders, r.cfg.Consumers))
	before, err := r.look(ctx, r.agentMetrics)
	if err != nil {
		return err
	}
	read, err := r.consume(ctx, consumers, from, func() []int64 { return to })
	if err != nil {
		return err
	}
	after, err := r.look(ctx, r.agentMetrics)
	if err != nil {
		return err
	}
	if wanted != nil && (read.hash != wanted.hash || read.records != wanted.records) {
		return fmt.Errorf("%d records were written (hash %016x) and %d others read (hash %016x)", wanted.records, wanted.hash, read.records, read.hash)
	}
	r.note(result, &read, &read, after.since(before), after)
	return nil
}

// fill writes what is read afterwards, and starts an agent that remembers nothing of it. Where a cluster was named, there
// is data already.
func (r *run) fill(ctx context.Context) (*loadResult, error) {
	if len(r.cfg.Brokers) > 0 {
		return nil, nil //nolint:nilnil // nothing is wanted of it
	}
	leaders, err := r.cluster.topic(ctx, r.cfg.Topic, r.cfg.Partitions)
	if err != nil {
		return nil, err
	}
	written, err := r.load.run(ctx, routes(leaders, r.cfg.Connections), fillDuration, nil)
	if err != nil {
		return nil, fmt.Errorf("fill the topic: %w", err)
	}
	if len(written.failed) > 0 {
		return nil, fmt.Errorf("fill the topic: requests failed: %v", written.failed)
	}
	r.tell("wrote %.0f MB to read\n", float64(written.bytes)/1e6)
	r.cluster.close()
	if err := r.processes.stopOne(r.processes.all[len(r.processes.all)-1]); err != nil {
		return nil, err
	}
	if err := r.startAgent(ctx); err != nil {
		return nil, err
	}
	r.cluster, err = openCluster(r.brokers)
	return &written, err
}

// tail reads at the end of a topic while it is written: every consumer reads everything.
func (r *run) tail(ctx context.Context, result *Result) error {
	leaders, err := r.cluster.topic(ctx, r.cfg.Topic, r.cfg.Partitions)
	if err != nil {
		return err
	}
	from, err := r.cluster.ends(ctx, r.cfg.Topic, r.cfg.Partitions, true)
	if err != nil {
		return err
	}
	var consumers []route
	for range r.cfg.Consumers {
		consumers = append(consumers, routes(leaders, 1)...) // one to each leader
	}
	before, err := r.look(ctx, r.agentMetrics)
	if err != nil {
		return err
	}
	var (
		written, read loadResult
		mu            sync.Mutex
		ends          []int64 // once all is written
	)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		var err error
		if written, err = r.load.run(gctx, routes(leaders, r.cfg.Connections), r.cfg.Duration, nil); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		to, err := r.cluster.ends(gctx, r.cfg.Topic, r.cfg.Partitions, true)
		mu.Lock()
		ends = to
		mu.Unlock()
		return err
	})
	g.Go(func() (err error) {
		read, err = r.consume(gctx, consumers, from, func() []int64 {
			mu.Lock()
			defer mu.Unlock()
			return ends
		})
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	after, err := r.look(ctx, r.agentMetrics)
	if err != nil {
		return err
	}
	times := int64(r.cfg.Consumers)
	if read.records != times*written.records || read.hash != uint64(times)*written.hash {
		return fmt.Errorf("%d records were written (hash %016x), %d consumers read %d (hash %016x)", written.records, written.hash, times, read.records, read.hash)
	}
	r.note(result, &written, &read, after.since(before), after)
	result.Notes = append(result.Notes, fmt.Sprintf("rates, CPU and latency are of writing and %d times reading together, for each GiB written", times))
	return nil
}

// note puts a measurement of measured into the result; read is what consumers read of it.
func (r *run) note(result *Result, measured, read *loadResult, g, after grown) {
	m := newMeasure(measured, g)
	m.ResidentMB = after.served[counterRSS] / 1e6
	m.ReadMBPerSecond = float64(read.bytes) / 1e6 / read.took.Seconds()
	result.Blocks = append(result.Blocks, Block{Agent: []Measure{m}, LoadAverage: loadAverage()})
	result.ContentHash, result.Records = fmt.Sprintf("%016x", read.hash), read.records
}

// share gives each partition to one of the routes to its leader.
func share(all []route) []route {
	byAddr := make(map[string][]int)
	for i, r := range all {
		byAddr[r.addr] = append(byAddr[r.addr], i)
	}
	out := slices.Clone(all)
	for _, of := range byAddr {
		partitions := out[of[0]].partitions
		for _, i := range of {
			out[i].partitions = nil
		}
		for n, p := range partitions {
			i := of[n%len(of)]
			out[i].partitions = append(out[i].partitions, p)
		}
	}
	return slices.DeleteFunc(out, func(r route) bool { return len(r.partitions) == 0 })
}

// consume reads over one connection a route, from offsets on, until every partition has reached its end. ends is asked
// again and again, and nil as long as they are not known.
func (r *run) consume(ctx context.Context, consumers []route, from []int64, ends func() []int64) (loadResult, error) {
	var mu sync.Mutex
	sum := loadResult{}
	begun := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for _, route := range consumers {
		g.Go(func() error {
			c := consumer{topic: r.cfg.Topic, route: route, ends: ends, at: make(map[int32]int64)}
			for _, p := range route.partitions {
				c.at[p] = from[p]
			}
			if err := c.run(ctx); err != nil {
				return fmt.Errorf("consumer of %s: %w", route.addr, err)
			}
			mu.Lock()
			defer mu.Unlock()
			sum.requests += c.sum.requests
			sum.bytes += c.sum.bytes
			sum.records += c.sum.records
			sum.hash += c.sum.hash
			sum.latency.merge(&c.sum.latency)
			return nil
		})
	}
	err := g.Wait()
	sum.took = time.Since(begun)
	return sum, err
}

// consumer reads partitions over one connection.
type consumer struct {
	topic string
	route route
	ends  func() []int64
	at    map[int32]int64 // next offset of each partition
	sum   loadResult

	correlation int32
	body        []byte
}

func (c *consumer) run(ctx context.Context) error {
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "tcp", c.route.addr)
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	progress := time.Now()
	for {
		ask := c.unread()
		if len(ask) == 0 {
			return nil
		}
		_ = nc.SetDeadline(time.Now().Add(patience)) // fails only on a closed connection, which the next call tells
		begun, before := time.Now(), c.sum.records
		if err := c.fetch(nc, ask); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
		c.sum.latency.add(time.Since(begun))
		c.sum.requests++
		switch now := time.Now(); {
		case c.sum.records > before:
			progress = now
		case now.Sub(progress) > consumeNoProgress:
			return fmt.Errorf("nothing new for %v", consumeNoProgress)
		}
	}
}

// unread is the partitions that have not reached their ends.
func (c *consumer) unread() []int32 {
	ends := c.ends()
	var out []int32
	for _, p := range slices.Sorted(maps.Keys(c.at)) {
		if ends == nil || c.at[p] < ends[p] {
			out = append(out, p)
		}
	}
	return out
}

func (c *consumer) fetch(nc net.Conn, partitions []int32) error {
	req := kmsg.NewPtrFetchRequest()
	req.Version = fetchVersion
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = int32(fetchWait/time.Millisecond), 1, fetchBytes, -1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic = c.topic
	for _, p := range partitions {
		fp := kmsg.NewFetchRequestTopicPartition()
		fp.Partition, fp.FetchOffset, fp.PartitionMaxBytes, fp.CurrentLeaderEpoch = p, c.at[p], fetchPartition, -1
		topic.Partitions = append(topic.Partitions, fp)
	}
	req.Topics = append(req.Topics, topic)
	c.correlation++
	if _, err := nc.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID)).AppendRequest(nil, req, c.correlation)); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	var head [9]byte // size, correlation id, tags
	if _, err := io.ReadFull(nc, head[:]); err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	n := int64(binary.BigEndian.Uint32(head[:])) - 5
	if got := int32(binary.BigEndian.Uint32(head[4:])); n < 0 || n > maxFetchReply || got != c.correlation || head[8] != 0 {
		return fmt.Errorf("receive: reply %d of %d bytes where %d was due", got, n, c.correlation)
	}
	if int64(cap(c.body)) < n {
		c.body = make([]byte, n)
	}
	c.body = c.body[:n]
	if _, err := io.ReadFull(nc, c.body); err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	return c.take(c.body)
}

// take reads the records of an answer.
func (c *consumer) take(body []byte) error {
	resp := kmsg.NewPtrFetchResponse()
	resp.Version = fetchVersion
	if err := resp.ReadFrom(body); err != nil {
		return fmt.Errorf("reply to Fetch: %w", err)
	}
	if resp.ErrorCode != 0 {
		return fmt.Errorf("reply to Fetch: %s", errorName(resp.ErrorCode))
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return fmt.Errorf("partition %d: %s", p.Partition, errorName(p.ErrorCode))
			}
			if err := c.takePartition(p.Partition, p.RecordBatches); err != nil {
				return fmt.Errorf("partition %d: %w", p.Partition, err)
			}
		}
	}
	return nil
}

// takePartition checks batches and adds their records up, each once.
func (c *consumer) takePartition(p int32, batches []byte) error {
	end := int64(math.MaxInt64)
	if ends := c.ends(); ends != nil {
		end = ends[p]
	}
	for len(batches) > 0 {
		b, err := record.Parse(batches)
		if errors.Is(err, record.ErrTruncated) {
			return nil // cut by the limit on bytes, as Kafka may
		}
		if err != nil {
			return err
		}
		batches = batches[b.Len():]
		if b.Control() {
			c.at[p] = int64(b.LastOffset()) + 1
			continue
		}
		c.sum.bytes += int64(b.Len())
		err = b.Each(record.DefaultLimits(), func(r *record.Record) bool {
			if o := int64(r.Offset); o >= c.at[p] && o < end {
				c.sum.records++
				c.sum.hash += contentHash(r.Key, r.Value)
			}
			return true
		})
		if err != nil {
			return err
		}
		if next := int64(b.LastOffset()) + 1; next > c.at[p] {
			c.at[p] = next
		}
	}
	return nil
}
