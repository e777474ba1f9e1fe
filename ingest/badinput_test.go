package ingest

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/record"
)

// frame puts a size in front of what is given.
func frame(parts ...[]byte) []byte {
	var body []byte
	for _, p := range parts {
		body = append(body, p...)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// header is a request header without tags: key, version, correlation id 1, null client id.
func header(key, version int16) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	return append(b, 0, 0, 0, 1, 0xff, 0xff)
}

// Each bad frame closes its own connection; a neighbor that was there before is served throughout.
func TestBadFramesCloseTheirConnectionOnly(t *testing.T) {
	cluster := newFakeCluster(testTopic("events", 1))
	r := startServer(t, cluster)
	neighbor := dial(t, r.addr)
	nullString := []byte{0xff, 0xff}
	for _, c := range []struct {
		name   string
		bytes  []byte
		reason string
	}{
		{"negative length", []byte{0xff, 0xff, 0xff, 0xff, 0, 18, 0, 0, 0, 0, 0, 1}, refusedFrame},
		{"length zero", []byte{0, 0, 0, 0, 0, 18, 0, 0, 0, 0, 0, 1}, refusedFrame},
		{"shorter than a header", []byte{0, 0, 0, 7, 0, 18, 0, 0, 0, 0, 0, 1}, refusedFrame},
		{"produce over its cap", append([]byte{0x7f, 0xff, 0xff, 0xff}, header(0, 9)...), refusedFrame},
		{"metadata over its cap", append(binary.BigEndian.AppendUint32(nil, 4<<20+1), header(3, 9)...), refusedFrame},
		{"api versions over its cap", append(binary.BigEndian.AppendUint32(nil, 64<<10+1), header(18, 0)...), refusedFrame},
		{"fetch over its cap", append(binary.BigEndian.AppendUint32(nil, 1<<20+1), header(1, 12)...), refusedFrame},
		{"heartbeat over its cap", append(binary.BigEndian.AppendUint32(nil, 1<<20+1), header(12, 4)...), refusedFrame},
		{"join over its cap", append(binary.BigEndian.AppendUint32(nil, 2<<20+1), header(11, 9)...), refusedFrame},
		{"unknown key", frame(header(999, 0)), refusedUnsupported},
		{"key not advertised", frame(header(24, 0)), refusedUnsupported},
		{"produce v2", frame(header(0, 2)), refusedUnsupported},
		{"fetch v3", frame(header(1, 3)), refusedUnsupported},
		{"fetch v18", frame(header(1, 18)), refusedUnsupported},
		{"negative version", frame(header(3, -1)), refusedUnsupported},
		{"no client id", frame(header(3, 1)[:8]), refusedFrame},
		{"client id past the end", frame(header(3, 1)[:8], []byte{0x7f, 0xff}), refusedFrame},
		{"tags past the end", frame(header(3, 9), []byte{1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}), refusedFrame},
		{"two thousand million tags", frame(header(18, 3), []byte{0xff, 0xff, 0xff, 0xff, 0x0f}), refusedFrame},
		{"metadata without a body", frame(header(3, 1)), refusedFrame},
		{"metadata with lying count", frame(header(3, 1), []byte{0x7f, 0xff, 0xff, 0xff}), refusedFrame},
		{"null topic name", frame(header(3, 1), []byte{0, 0, 0, 1}, nullString), refusedFrame},
		{"create topics with lying count", frame(header(19, 0), []byte{0, 0xff, 0xff, 0xff}, make([]byte, 1000)), refusedFrame},
		{"produce cut off", frame(header(0, 3), []byte{0xff, 0xff, 0, 1}), refusedFrame},
		{"produce with lying count", frame(header(0, 3), nullString, []byte{0, 1, 0, 0, 0, 0, 0x0f, 0xff, 0xff, 0xff}), refusedFrame},
		{"produce with null topics", frame(header(0, 3), nullString, []byte{0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}), refusedFrame},
		{"fetch with lying count", frame(header(1, 4), make([]byte, 17), []byte{0x0f, 0xff, 0xff, 0xff}), refusedFrame},
		{"http", []byte("GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n"), refusedUnsupported},
		{"tls hello", append([]byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03}, make([]byte, 100)...), refusedUnsupported},
	} {
		before := r.counts.refusals(c.reason)
		w := dial(t, r.addr)
		w.raw(c.bytes)
		w.closed()
		if got := r.counts.refusals(c.reason); got != before+1 {
			t.Errorf("%s: %d times %s counted, want one more than %d", c.name, got, c.reason, before)
		}
		if resp := ask[*kmsg.ProduceResponse](neighbor, produceOf(9, "events", 0, batchOf(t, record.None, "v"))); resp.Topics[0].Partitions[0].ErrorCode != 0 {
			t.Fatalf("%s: the neighbor gets code %d", c.name, resp.Topics[0].Partitions[0].ErrorCode)
		}
	}
}

// What came before a bad frame is answered.
func TestRequestsBeforeABadFrameAreAnswered(t *testing.T) {
	r := startServer(t, newFakeCluster(testTopic("events", 1)))
	w := dial(t, r.addr)
	produce := produceOf(9, "events", 0, batchOf(t, record.None, "v"))
	w.raw(append(frameOf(produce, 1), 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0))
	if p := receive[*kmsg.ProduceResponse](w, produce, 1).Topics[0].Partitions[0]; p.ErrorCode != 0 {
		t.Errorf("code %d", p.ErrorCode)
	}
	w.closed()
}

func TestPanicInAHandlerClosesItsConnectionOnly(t *testing.T) {
	r := startServer(t, newFakeCluster())
	neighbor, w := dial(t, r.addr), dial(t, r.addr)
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group = "panic in the coordinator"
	w.send(join)
	w.closed()
	if r.counts.refusals(refusedPanic) != 1 {
		t.Error("the panic was not counted")
	}
	neighbor.ask(kmsg.NewPtrApiVersionsRequest())
}

// Bytes after the last field are Kafka's to tolerate, and so ours.
func TestTrailingBytesAreTolerated(t *testing.T) {
	r := startServer(t, newFakeCluster(testTopic("events", 1)))
	w := dial(t, r.addr)
	for _, req := range []kmsg.Request{kmsg.NewPtrMetadataRequest(), produceOf(9, "events", 0, batchOf(t, record.None, "v")), fetchOf(12, "events", 0, 0)} {
		b := append(frameOf(req, 3), 1, 2, 3)
		binary.BigEndian.PutUint32(b, uint32(len(b)-4))
		w.raw(b)
		w.receive(req, 3)
	}
}

// A connection that asks for more memory than it may have waits for itself; when all is used, it waits for others. Both
// go on as soon as there is room.
func TestMemoryBoundsSlowConnectionsDown(t *testing.T) {
	cluster := newFakeCluster(testTopic("events", 1))
	release := make(chan struct{})
	cluster.hold = func(call int) {
		if call < 3 {
			<-release
		}
	}
	r := startServer(t, cluster, func(c *Config, _ *Deps) {
		c.ProduceBytes, c.MemoryBytes, c.ConnectionBytes = 1<<20, 1<<20, 1<<20
	})
	big := batchOf(t, record.None, string(make([]byte, 400<<10)))
	w := dial(t, r.addr)
	var reqs []*kmsg.ProduceRequest
	for range 3 {
		reqs = append(reqs, produceOf(9, "events", 0, big))
	}
	go func() {
		for i, req := range reqs {
			_, _ = w.conn.Write(frameOf(req, int32(i+1)))
		}
	}()
	// Two of the three fill the memory there is. What is not a Produce is served all the same.
	other := dial(t, r.addr)
	deadline := time.Now().Add(5 * time.Second)
	for r.server.memory.inUse() != 1<<20 && time.Now().Before(deadline) {
		other.ask(kmsg.NewPtrApiVersionsRequest())
	}
	for range 50 {
		if used := r.server.memory.inUse(); used > 1<<20+10<<10 { // and a little reply
			t.Fatalf("%d bytes held, the limit is 1 MiB", used)
		}
		other.ask(kmsg.NewPtrApiVersionsRequest())
	}
	close(release)
	for i, req := range reqs {
		w.receive(req, int32(i+1))
	}
}

// Consumers that do not take their replies hold the memory of replies. Producers have a budget of their own.
func TestUnsentRepliesDoNotHoldUpProducers(t *testing.T) {
	r := startServer(t, newFakeCluster(testTopic("events", 1)))
	r.server.replies.force(r.server.cfg.ReplyBytes)
	defer r.server.replies.release(r.server.cfg.ReplyBytes)
	dial(t, r.addr).ask(produceOf(9, "events", 0, batchOf(t, record.None, "v")))
}
