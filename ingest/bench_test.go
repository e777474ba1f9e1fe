package ingest

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/bargedata/barge/batcher"
	"github.com/bargedata/barge/record"
)

// swallow takes batches, copies them as the batcher does into its object, and says yes at once.
type swallow struct {
	object []byte
	done   chan struct{}
}

func (s *swallow) Append(_ context.Context, appends []record.Append) (Pending, error) {
	p := &fakePending{done: s.done, results: make([]batcher.Result, len(appends))}
	for _, a := range appends {
		if len(s.object)+int(a.Batch.Len()) > cap(s.object) {
			s.object = s.object[:0]
		}
		s.object = append(s.object, a.Batch.Bytes()...)
	}
	return p, nil
}

// BenchmarkProduce is the way of one Produce request from the socket to the batcher and back: pipelined over loopback,
// client included, no upload.
func BenchmarkProduce(b *testing.B) {
	for _, size := range []int{16 << 10, 128 << 10, 1000 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			topic := testTopic("events", 1)
			sink := &swallow{object: make([]byte, 0, 8<<20), done: make(chan struct{})}
			close(sink.done)
			cluster := newFakeCluster(topic)
			r := startServer(b, cluster, func(_ *Config, d *Deps) { d.Batches = sink })
			var values []string
			for n := 0; n < size; n += 1010 {
				values = append(values, string(make([]byte, 1000)))
			}
			frame := frameOf(produceOf(9, "events", 0, batchOf(b, record.None, values...)), 1)
			conn, err := net.Dial("tcp", r.addr)
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			window := make(chan struct{}, 5) // as Java's producer
			ended := make(chan error, 1)
			go func() {
				head := make([]byte, 4)
				for range b.N {
					if _, err := io.ReadFull(conn, head); err != nil {
						ended <- err
						return
					}
					if _, err := io.CopyN(io.Discard, conn, int64(head[2])<<8|int64(head[3])); err != nil {
						ended <- err
						return
					}
					<-window
				}
				ended <- nil
			}()
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				window <- struct{}{}
				if _, err := conn.Write(frame); err != nil {
					b.Fatal(err)
				}
			}
			if err := <-ended; err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkDecodeProduce is the codec alone: eight partitions.
func BenchmarkDecodeProduce(b *testing.B) {
	req := produceOf(9, "events", 0, batchOf(b, record.None, "value"))
	for i := range 7 {
		p := req.Topics[0].Partitions[0]
		p.Partition = int32(i + 1)
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, p)
	}
	body := req.AppendTo(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeProduce(body, 9, true); err != nil {
			b.Fatal(err)
		}
	}
}
