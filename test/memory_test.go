//go:build realworld

package test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/bargedata/barge/record"
)

const (
	pushers      = 64
	pusherFrames = 4
	frameBytes   = 2 * mib
)

// produceFrame is a whole Produce request of one batch, whose producer waits for minutes.
func produceFrame(t *testing.T, topic string, partition, correlation int32, size int) []byte {
	t.Helper()
	return produceFrameWithin(t, topic, partition, correlation, size, 5*time.Minute)
}

func produceFrameWithin(t *testing.T, topic string, partition, correlation int32, size int, patience time.Duration) []byte {
	t.Helper()
	b := record.NewBuilder(record.None)
	if err := b.Append(&record.Record{Value: bytes.Repeat([]byte("x"), size)}); err != nil {
		t.Fatal(err)
	}
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(8)
	req.Acks, req.TimeoutMillis = -1, int32(patience.Milliseconds())
	req.Topics = []kmsg.ProduceRequestTopic{{Topic: topic, Partitions: []kmsg.ProduceRequestTopicPartition{{Partition: partition, Records: batch}}}}
	return kmsg.NewRequestFormatter().AppendRequest(nil, req, correlation)
}

// pusher is a connection that pushes frames without waiting for answers.
type pusher struct {
	conn      net.Conn
	partition int32
	pushed    *atomic.Int64 // bytes taken off our hands
}

func (p *pusher) push(frames [][]byte) error {
	for _, frame := range frames {
		for len(frame) > 0 {
			n, err := p.conn.Write(frame[:min(len(frame), 64<<10)])
			p.pushed.Add(int64(n))
			if err != nil {
				return fmt.Errorf("push to partition %d: %w", p.partition, err)
			}
			frame = frame[n:]
		}
	}
	return nil
}

// answers reads so many replies, each of which must be without an error, and returns the offsets they tell.
func (p *pusher) answers(n int) (offsets []int64, err error) {
	for range n {
		var size [4]byte
		if _, err := io.ReadFull(p.conn, size[:]); err != nil {
			return nil, fmt.Errorf("reply from partition %d: %w", p.partition, err)
		}
		reply := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(p.conn, reply); err != nil {
			return nil, fmt.Errorf("reply from partition %d: %w", p.partition, err)
		}
		resp := kmsg.NewPtrProduceResponse()
		resp.SetVersion(8)
		if err := resp.ReadFrom(reply[4:]); err != nil {
			return nil, fmt.Errorf("reply from partition %d: %w", p.partition, err)
		}
		got := resp.Topics[0].Partitions[0]
		if got.ErrorCode != 0 {
			return nil, fmt.Errorf("partition %d: error code %d", p.partition, got.ErrorCode)
		}
		offsets = append(offsets, got.BaseOffset)
	}
	return offsets, nil
}

// Many connections push large frames while the store takes nothing: the agent takes in what its buffers hold and reads no
// further. When the store is back, all of it is written.
func TestStalledStoreKeepsMemoryBounded(t *testing.T) {
	b, p := proxiedBackend(t)
	m := newMortal(t, b, rand.New(rand.NewPCG(1, 1)), smallAgent...)
	m.begin(t)
	barge(t, b, "topic", "create", "large", "--brokers", m.brokers, "--partitions", "4", "--config", "max.message.bytes=4000000")
	p.set(weather{stall: true})

	var pushed atomic.Int64
	var pushing, reading errgroup.Group
	told := make(chan place, pushers*pusherFrames)
	for i := range pushers {
		conn, err := net.Dial("tcp", m.brokers)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		pr := &pusher{conn: conn, partition: int32(i % 4), pushed: &pushed}
		var frames [][]byte
		for c := range pusherFrames {
			frames = append(frames, produceFrame(t, "large", pr.partition, int32(c), frameBytes))
		}
		pushing.Go(func() error { return pr.push(frames) })
		reading.Go(func() error {
			offsets, err := pr.answers(pusherFrames)
			for _, o := range offsets {
				told <- place{pr.partition, o}
			}
			return err
		})
	}
	// It stands still: for some seconds nobody gets a byte in.
	var still int
	last := int64(-1)
	waitFor(t, time.Minute, "the agent reads nothing more", func() bool {
		m.alive(t)
		if now := pushed.Load(); now != last {
			still, last = 0, now
		} else {
			still++
		}
		time.Sleep(50 * time.Millisecond)
		return still == 50
	})
	now, peak := resident(t, m.cmd.Process.Pid)
	t.Logf("of %d MiB offered by %d connections %d MiB were taken, %d MiB resident, %d at most", pushers*pusherFrames*frameBytes/mib, pushers, last/mib, now/mib, peak/mib)
	if last >= pushers*pusherFrames*frameBytes {
		t.Error("everything was taken: nothing held the connections up")
	}
	time.Sleep(12 * time.Second) // beyond the time-out of an upload, which is then repeated
	p.set(weather{})
	if err := pushing.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := reading.Wait(); err != nil {
		t.Fatal(err)
	}
	close(told)
	seen := map[place]bool{}
	for at := range told {
		if seen[at] {
			t.Errorf("partition %d offset %d was told twice", at.partition, at.offset)
		}
		seen[at] = true
	}
	if len(seen) != pushers*pusherFrames {
		t.Errorf("%d offsets were told, %d batches pushed", len(seen), pushers*pusherFrames)
	}
	if _, peak = resident(t, m.cmd.Process.Pid); peak > smallAgentCap {
		t.Errorf("the agent had %d MiB in memory, its cap is %d MiB", peak/mib, smallAgentCap/mib)
	}
	t.Logf("%d MiB resident at most", peak/mib)
	m.stop(t)
	fsck(t, b)
}
