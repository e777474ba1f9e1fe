package ingest

import (
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/record"
)

// seeds adds a random request of every key and version, and some damaged ones.
func seeds(f *testing.F, keep func(key int16) bool) {
	f.Helper()
	rng := rand.New(rand.NewPCG(11, 12))
	for _, a := range apis() {
		if !keep(a.key) {
			continue
		}
		for version := a.serve; version <= a.max; version++ {
			_, body := randomRequest(rng, a.key, version)
			f.Add(a.key, version, body)
			f.Add(a.key, version, body[:len(body)/2])
		}
		f.Add(a.key, a.max, make([]byte, 4096))
		f.Add(a.key, a.serve, []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0xff, 0xff, 0xff, 0x7f})
	}
}

// FuzzRequest: header and body of any key and version never panic, what the layouts accept kmsg decodes, and memory
// stays in proportion to the frame.
func FuzzRequest(f *testing.F) {
	seeds(f, func(int16) bool { return true })
	s := &Server{layouts: make(map[int16][]field)}
	for _, a := range apis() {
		if layout, ok := schemaOf(a.key); ok {
			s.layouts[a.key] = layout
		}
	}
	f.Fuzz(func(t *testing.T, key, version int16, rest []byte) {
		a, known := apiOf(key)
		if !known || version < a.serve || version > a.max || len(rest) > 1<<20 {
			return
		}
		req := request{api: a, version: version}
		_ = req.parseHeader(append([]byte{0, 1, 'c', 0}, rest...))
		req.body = append([]byte{}, rest...)

		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		switch key {
		case keyProduce:
			_, _ = decodeProduce(req.body, version, req.flexible())
		case keyFetch:
			_, _ = decodeFetch(req.body, version, req.flexible())
		default:
			msg, err := s.decode(req)
			if err == nil && msg.GetVersion() != version {
				t.Errorf("decoded version %d", msg.GetVersion())
			}
			layoutErr := checkBody(s.layouts[key], version, req.flexible(), req.body)
			if (layoutErr == nil) != (err == nil) {
				t.Errorf("layout says %v, kmsg %v", layoutErr, err)
			}
		}
		runtime.ReadMemStats(&after)
		// Slices that grow by doubling cost up to three times what they end as.
		if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(200*len(rest)+64<<10); got > limit {
			t.Errorf("%d bytes allocated for a frame of %d, limit %d", got, len(rest), limit)
		}
	})
}

// FuzzProduceCodec: what decodeProduce accepts means the same to kmsg.
func FuzzProduceCodec(f *testing.F) {
	seeds(f, func(key int16) bool { return key == keyProduce })
	f.Fuzz(func(t *testing.T, _, version int16, body []byte) {
		if version < 3 || version > 13 || len(body) > 1<<20 {
			return
		}
		compareProduce(t, body, version)
	})
}

// FuzzFetchCodec: what decodeFetch accepts means the same to kmsg, as far as it is not tags.
func FuzzFetchCodec(f *testing.F) {
	seeds(f, func(key int16) bool { return key == keyFetch })
	f.Fuzz(func(t *testing.T, _, version int16, body []byte) {
		// kmsg's own tag loop is not bounded: keep to frames without a long count in them.
		if version < 4 || version > 11 || len(body) > 1<<20 {
			return
		}
		compareFetch(t, body, version)
	})
}

// FuzzConnection: whatever bytes come, the connection ends without a panic and gives back all memory. Handlers run for
// real, on the in-memory cluster.
func FuzzConnection(f *testing.F) {
	rng := rand.New(rand.NewPCG(13, 14))
	for _, a := range apis() {
		req, _ := randomRequest(rng, a.key, a.max)
		first := frameOf(req, 1)
		f.Add(first)
		f.Add(append(first, frameOf(kmsg.NewPtrApiVersionsRequest(), 2)...))
		f.Add(first[:len(first)-1])
	}
	f.Add(frameOf(produceOf(9, "events", 0, batchOf(f, record.Zstd, "a", "b")), 1))
	f.Add(frameOf(fetchOf(12, "events", 0, 0), 1))
	f.Add([]byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 9, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, sent []byte) {
		cluster := newFakeCluster(testTopic("events", 2))
		cfg := DefaultConfig()
		cfg.ClusterID = "fuzz"
		var panics atomic.Int32
		s, err := New(cfg, Deps{
			View: cluster, Commands: cluster, Batches: cluster, Reader: cluster, Groups: noGroups{}, Now: time.Now,
			NewTopicID: func() record.TopicID { return record.TopicID{1} }, Log: slog.New(slog.DiscardHandler),
			Observer: panicCounter{n: &panics},
		})
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := net.Pipe()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			newConn(t.Context(), t.Context(), s, theirs).serve()
		}()
		go func() { _, _ = io.Copy(io.Discard, ours) }()
		_, _ = ours.Write(sent) // fails where the server has hung up
		_ = ours.Close()
		<-ended
		if n := s.memory.inUse() + s.control.inUse() + s.replies.inUse(); n != 0 {
			t.Errorf("%d bytes still held", n)
		}
		if n := panics.Load(); n != 0 {
			t.Errorf("%d panics", n)
		}
	})
}

// panicCounter counts handlers that panicked.
type panicCounter struct {
	nobody
	n *atomic.Int32
}

func (p panicCounter) Refused(reason string) {
	if reason == refusedPanic {
		p.n.Add(1)
	}
}
