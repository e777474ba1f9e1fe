package bench

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/record"
)

func TestBatchesAreWhatProducersMaySend(t *testing.T) {
	for _, payload := range []Payload{PayloadLogs, PayloadRandom} {
		cfg := DefaultConfig()
		cfg.Payload = payload
		batches, err := buildBatches(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if len(batches) != distinctBytes/cfg.BatchBytes {
			t.Errorf("%s: %d batches", payload, len(batches))
		}
		for _, built := range batches {
			b, err := record.Parse(built.raw)
			if err == nil {
				err = b.ValidateProduce(record.DefaultLimits())
			}
			if err != nil {
				t.Fatalf("%s: %v", payload, err)
			}
			if int(b.Records()) != built.records || len(built.raw) > cfg.BatchBytes || len(built.raw) < cfg.BatchBytes-cfg.RecordBytes-recordOverhead {
				t.Errorf("%s: %d records, said %d, in %d bytes", payload, b.Records(), built.records, len(built.raw))
			}
			var hash uint64
			err = b.Each(record.DefaultLimits(), func(r *record.Record) bool {
				if len(r.Value) != cfg.RecordBytes {
					t.Fatalf("%s: value of %d bytes", payload, len(r.Value))
				}
				hash += contentHash(r.Key, r.Value)
				return true
			})
			if err != nil || hash != built.hash {
				t.Errorf("%s: hash %x, said %x, %v", payload, hash, built.hash, err)
			}
		}
		again, err := buildBatches(cfg)
		if err != nil || !bytes.Equal(again[3].raw, batches[3].raw) {
			t.Errorf("%s: the same configuration makes other batches", payload)
		}
	}
}

func TestLogsCompressAsLogsDo(t *testing.T) {
	size := func(payload Payload, codec record.Codec) float64 {
		cfg := DefaultConfig()
		cfg.Payload, cfg.Codec = payload, codec
		batches, err := buildBatches(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return float64(len(batches[0].raw))
	}
	if ratio := size(PayloadLogs, record.None) / size(PayloadLogs, record.Zstd); ratio < 3 || ratio > 5 {
		t.Errorf("zstd makes logs %.2f times smaller, want about 4", ratio)
	}
	if ratio := size(PayloadRandom, record.None) / size(PayloadRandom, record.Zstd); ratio > 1.02 {
		t.Errorf("zstd makes random bytes %.2f times smaller", ratio)
	}
}

func TestFramesAreReadByTheProtocolsOwnDecoder(t *testing.T) {
	for _, topic := range []string{"t", strings.Repeat("long", 50)} {
		batch := bytes.Repeat([]byte("batch"), 100)
		f := newProduceFrame(topic, clientID, len(batch))
		frame := append(append(f.patch(nil, 7, 3), batch...), f.tail...)
		body := frame[4+8+2+len(clientID)+1:]
		req := kmsg.NewPtrProduceRequest()
		req.Version = produceVersion
		if err := req.ReadFrom(body); err != nil {
			t.Fatal(err)
		}
		if got := kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID)).AppendRequest(nil, req, 7); !bytes.Equal(got, frame) {
			t.Errorf("frame\n %x, the protocol's own is\n %x", frame, got)
		}
		if p := req.Topics[0].Partitions[0]; req.Topics[0].Topic != topic || p.Partition != 3 || !bytes.Equal(p.Records, batch) || req.Acks != -1 {
			t.Errorf("frame decodes to %+v", req)
		}

		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		rt := kmsg.NewProduceResponseTopic()
		rp := kmsg.NewProduceResponseTopicPartition()
		rt.Topic, rp.ErrorCode = topic, 19
		rt.Partitions = append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
		reply := resp.AppendTo([]byte{0, 0, 0, 7, 0})
		if code, err := f.reply(reply, 7); code != 19 || err != nil {
			t.Errorf("reply reads as %d, %v", code, err)
		}
		if _, err := f.reply(reply, 8); err == nil {
			t.Error("a reply to another request is taken")
		}
		if _, err := f.reply(reply[:12], 7); err == nil {
			t.Error("a cut reply is taken")
		}
	}
}

func TestFloorsReplyIsReadByTheProtocolsOwnDecoder(t *testing.T) {
	a := floorAsk{correlation: 9, topic: "events", partition: 5}
	reply := a.appendReply(nil, 1234)
	resp := kmsg.NewPtrProduceResponse()
	resp.Version = produceVersion
	if err := resp.ReadFrom(reply[9:]); err != nil {
		t.Fatal(err)
	}
	if p := resp.Topics[0].Partitions[0]; resp.Topics[0].Topic != "events" || p.Partition != 5 || p.BaseOffset != 1234 || p.ErrorCode != 0 {
		t.Errorf("reply decodes to %+v", resp)
	}
}

func TestSequencedBatchesAreWhole(t *testing.T) {
	cfg := DefaultConfig()
	batches, err := buildBatches(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b, err := record.Parse(sequenceBatch(nil, batches[0].raw, 77, 2, 4711))
	if err != nil {
		t.Fatal(err)
	}
	if b.ProducerID() != 77 || b.ProducerEpoch() != 2 || b.BaseSequence() != 4711 {
		t.Errorf("producer %d, epoch %d, sequence %d", b.ProducerID(), b.ProducerEpoch(), b.BaseSequence())
	}
}

func TestHistogramIsRightToThreePercent(t *testing.T) {
	var h histogram
	for i := 1; i <= 100_000; i++ {
		h.add(time.Duration(i) * time.Microsecond)
	}
	for q, want := range map[float64]time.Duration{0: time.Microsecond, 0.5: 50 * time.Millisecond, 0.99: 99 * time.Millisecond, 0.999: 99_900 * time.Microsecond, 1: 100 * time.Millisecond} {
		if got := h.quantile(q); math.Abs(float64(got-want)) > 0.032*float64(want) {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	var sum histogram
	sum.merge(&h)
	sum.add(-time.Second) // a clock that was set back
	if sum.n != h.n+1 || sum.quantile(0.5) != h.quantile(0.5) || sum.quantile(0) != 0 {
		t.Errorf("merged: %d values, median %v", sum.n, sum.quantile(0.5))
	}
}

func TestBlocksAreJudged(t *testing.T) {
	measure := func(cpu float64) Measure { return Measure{CPUSecondsPerGiB: cpu, MBPerSecond: 100} }
	block := func(f1, a1, f2, a2 float64) Block {
		b := Block{Agent: []Measure{measure(a1), measure(a2)}, Floor: []Measure{measure(f1), measure(f2)}}
		b.judge()
		return b
	}
	good, noisy := block(1, 1.5, 1.05, 1.6), block(1, 9, 1.2, 9)
	if good.Discarded || math.Abs(good.CPURatio-3.1/2.05) > 1e-9 || good.RateRatio != 1 {
		t.Errorf("block %+v", good)
	}
	if !noisy.Discarded {
		t.Errorf("floors of 1 and 1.2 are kept: %+v", noisy)
	}
	if b := block(0, 1, 0, 1); !b.Discarded {
		t.Errorf("floors that used no CPU are kept: %+v", b)
	}
	r := Result{Blocks: []Block{good, noisy, block(1, 2.5, 1, 2.5), block(1, 1.8, 1, 1.8)}}
	r.sumUp()
	if math.Abs(r.CPURatio-1.8) > 1e-9 || len(r.Notes) != 1 || r.Agent.CPUSecondsPerGiB != 1.8 || r.Floor.CPUSecondsPerGiB != 1 {
		t.Errorf("ratio %v, agent %v, notes %v", r.CPURatio, r.Agent.CPUSecondsPerGiB, r.Notes)
	}
	r = Result{Blocks: []Block{noisy}}
	r.sumUp()
	if len(r.Notes) != 2 || !strings.Contains(r.Notes[1], "prove nothing") {
		t.Errorf("notes %v", r.Notes)
	}
}

func TestCountersAreParsed(t *testing.T) {
	c, err := parseCounters(strings.NewReader(`# HELP a b
a_total{op="put",outcome="ok"} 3
a_total{op="put",outcome="unknown"} 1e+02
a_total{op="get",outcome="ok"} 7
b 1.5
c{text="a b"} 2
`))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.sum("a_total", `op="put"`); got != 103 {
		t.Errorf("puts are %v", got)
	}
	if c["b"] != 1.5 || c[`c{text="a b"}`] != 2 || c.sum("a_total") != 110 {
		t.Errorf("parsed %v", c)
	}
	if grown := c.since(counters{"b": 1}); grown["b"] != 0.5 {
		t.Errorf("b grew by %v", grown["b"])
	}
}

func TestRoutesReachEveryPartitionOfALeader(t *testing.T) {
	leaders := []string{"a", "b", "a", "b", "a"}
	all := routes(leaders, 4)
	if len(all) != 4 || len(all[0].partitions) != 3 || len(all[1].partitions) != 2 {
		t.Errorf("routes %v", all)
	}
	if got := routes(leaders, 1); len(got) != 2 {
		t.Errorf("one connection cannot reach two leaders: %v", got)
	}
	seen := map[int32]int{}
	for _, r := range share(all) {
		for _, p := range r.partitions {
			seen[p]++
			if leaders[p] != r.addr {
				t.Errorf("partition %d is read from %s", p, r.addr)
			}
		}
	}
	if len(seen) != 5 || seen[0] != 1 || seen[4] != 1 {
		t.Errorf("shared out %v", seen)
	}
}
