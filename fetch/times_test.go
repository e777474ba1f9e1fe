package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// reference is the first record with a timestamp of at least ts.
func reference(records []record.Record, ts int64) (record.Offset, int64) {
	for _, r := range records {
		if r.Timestamp >= ts {
			return r.Offset, r.Timestamp
		}
	}
	return NoOffset, NoTimestamp
}

func TestOffsetForTimeIsExact(t *testing.T) {
	w := newWorld(t, 1)
	r := w.reader(nil)
	// Timestamps that jump back and forth: within a batch, between batches, between objects and files.
	stamps := []int64{50, 40, 60, 10, 100, 90, 95, 20, 20, 200, 5, 150, 300, 250, 250, -1}
	for i := 0; i < len(stamps); i += 4 {
		var list []record.Batch
		for j := i; j < i+4; j += 2 {
			list = append(list, w.batchOf(0, record.Zstd, []record.Record{
				{Offset: record.Offset(j), Timestamp: stamps[j]}, {Offset: record.Offset(j + 1), Timestamp: stamps[j+1]},
			}))
		}
		w.commit(map[int32][]record.Batch{0: list})
		if i == 4 {
			w.compact("tables/t/_data/1", nil, map[int32]record.Offset{0: 8}, nil)
		}
	}
	for ts := int64(-2); ts < 310; ts++ {
		offset, at, err := r.OffsetForTime(t.Context(), w.part(0), ts)
		if want, wantAt := reference(w.produced[0], ts); err != nil || offset != want || at != wantAt {
			t.Errorf("time %d: offset %d, timestamp %d, %v; want %d, %d", ts, offset, at, err, want, wantAt)
		}
	}
	if offset, at, err := r.OffsetOfMaxTimestamp(t.Context(), w.part(0)); offset != 12 || at != 300 || err != nil {
		t.Errorf("largest timestamp: offset %d, timestamp %d, %v; want 12, 300", offset, at, err)
	}
}

func TestLookupsByTimeOfNothing(t *testing.T) {
	w := newWorld(t, 1)
	r := w.reader(nil)
	if offset, at, err := r.OffsetForTime(t.Context(), w.part(0), 0); offset != NoOffset || at != NoTimestamp || err != nil {
		t.Errorf("empty log: %d, %d, %v", offset, at, err)
	}
	if offset, at, err := r.OffsetOfMaxTimestamp(t.Context(), w.part(0)); offset != NoOffset || at != NoTimestamp || err != nil {
		t.Errorf("empty log, largest: %d, %d, %v", offset, at, err)
	}
	if _, _, err := r.OffsetForTime(t.Context(), w.part(4), 0); !errors.Is(err, metadata.ErrUnknownTopic) {
		t.Errorf("unknown partition: %v", err)
	}
	if _, _, err := r.OffsetOfMaxTimestamp(t.Context(), w.part(4)); !errors.Is(err, metadata.ErrUnknownTopic) {
		t.Errorf("unknown partition, largest: %v", err)
	}
}

// A batch's header may say more than its records: the lookup goes on behind it.
func TestOffsetForTimeGoesPastHeadersThatLie(t *testing.T) {
	w := newWorld(t, 1)
	lying := w.batchOf(0, record.None, []record.Record{{Offset: 0, Timestamp: 10}, {Offset: 1, Timestamp: 20}})
	lying, err := record.StampMaxTimestamp(lying.Bytes(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	w.commit(map[int32][]record.Batch{0: {lying}})
	w.commit(map[int32][]record.Batch{0: {w.batchOf(0, record.None, []record.Record{{Offset: 2, Timestamp: 30}})}})
	w.commit(map[int32][]record.Batch{0: {w.batchOf(0, record.None, []record.Record{{Offset: 3, Timestamp: 500}})}})
	r := w.reader(nil)
	for ts, want := range map[int64]record.Offset{5: 0, 15: 1, 25: 2, 400: 3, 600: NoOffset} {
		if offset, _, err := r.OffsetForTime(t.Context(), w.part(0), ts); offset != want || err != nil {
			t.Errorf("time %d: offset %d, %v; want %d", ts, offset, err, want)
		}
	}
}

// inline is a store that also answers for objects in log entries.
type inline struct {
	*counting
	objects map[string][]byte
}

func (s inline) GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	if body, ok := s.objects[key]; ok {
		return body[pos : pos+length], nil
	}
	return s.counting.GetRange(ctx, key, pos, length)
}

// Timestamps in any order, stamped by the producer or on arrival, in objects, log entries and files, with log starts anywhere: every
// lookup by time answers what walking over all records does.
func TestLookupsByTimeEqualAWalkOverAllRecords(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 77))
		w := newWorld(t, 1)
		apply[metadata.SealSessionResult](w, metadata.SealSession{Session: w.session})
		w.session = apply[metadata.OpenSessionResult](w, metadata.OpenSession{Agent: metadata.AgentInfo{Level: metadata.MaxLevel}}).Session
		apply[metadata.RaiseLevelResult](w, metadata.RaiseLevel{Level: metadata.MaxLevel})
		store := inline{w.store, map[string][]byte{}}
		r, err := New(DefaultConfig(), w.view, store, OpenParquet, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		p, now, compacted, start := w.part(0), int64(1000), record.Offset(0), record.Offset(0)
		for step := range 12 {
			var list []record.Batch
			for range 1 + rng.IntN(3) {
				list = append(list, randomBatch(w, rng, &now))
			}
			if rng.IntN(2) == 0 {
				w.commit(map[int32][]record.Batch{0: list})
			} else {
				w.commitInline(list, store.objects)
			}
			bounds, err := w.view.Bounds(p)
			if err != nil {
				t.Fatal(err)
			}
			if rng.IntN(3) == 0 && compacted < bounds.HighWatermark {
				w.compact(fmt.Sprintf("tables/t/_data/%d", step), map[int32]record.Offset{0: compacted}, map[int32]record.Offset{0: bounds.HighWatermark}, nil)
				compacted = bounds.HighWatermark
			}
			if rng.IntN(4) == 0 {
				start = bounds.LogStart + record.Offset(rng.Int64N(int64(bounds.HighWatermark-bounds.LogStart)+1))
				apply[metadata.DeleteRecordsResult](w, metadata.DeleteRecords{Moves: []metadata.LogStartMove{{Partition: p, To: start}}})
				compacted = max(compacted, start)
			}
			var live []record.Record
			for _, rec := range w.produced[0] {
				if rec.Offset >= start {
					live = append(live, rec)
				}
			}
			for range 10 {
				ts := now - 300 + rng.Int64N(400)
				if rng.IntN(10) == 0 {
					ts = rng.Int64N(now)
				}
				offset, at, err := r.OffsetForTime(t.Context(), p, ts)
				if want, wantAt := reference(live, ts); err != nil || offset != want || at != wantAt {
					t.Fatalf("seed %d step %d: time %d, log from %d: offset %d, timestamp %d, %v; want %d, %d", seed, step, ts, start, offset, at, err, want, wantAt)
				}
			}
			want, wantAt := NoOffset, NoTimestamp
			for _, rec := range live {
				if want == NoOffset || rec.Timestamp > wantAt {
					want, wantAt = rec.Offset, rec.Timestamp
				}
			}
			if offset, at, err := r.OffsetOfMaxTimestamp(t.Context(), p); err != nil || offset != want || at != wantAt {
				t.Fatalf("seed %d step %d: largest timestamp, log from %d: offset %d, timestamp %d, %v; want %d, %d", seed, step, start, offset, at, err, want, wantAt)
			}
		}
	}
}

// randomBatch has timestamps around now, in no order, or that of its arrival.
func randomBatch(w *world, rng *rand.Rand, now *int64) record.Batch {
	w.tb.Helper()
	*now += rng.Int64N(100)
	stamped := rng.IntN(4) == 0
	codec := []record.Codec{record.None, record.Zstd, record.LZ4}[rng.IntN(3)]
	var records []record.Record
	for range 1 + rng.IntN(6) {
		rec := record.Record{Offset: w.next[0] + record.Offset(len(records)), Timestamp: *now - 50 + rng.Int64N(100)}
		switch rng.IntN(30) {
		case 0:
			rec.Timestamp = -1
		case 1:
			rec.Timestamp += 200
		}
		if stamped {
			rec.Timestamp, rec.TimestampType = *now, record.LogAppendTime
		}
		records = append(records, rec)
	}
	b := w.batchOf(0, codec, records)
	if stamped {
		var err error
		if b, err = record.StampLogAppendTime(slices.Clone(b.Bytes()), *now); err != nil {
			w.tb.Fatal(err)
		}
	}
	return b
}

// commitInline commits the batches in a log entry; objects learns where they lie.
func (w *world) commitInline(list []record.Batch, objects map[string][]byte) {
	w.tb.Helper()
	_, body := w.layOut(map[int32][]record.Batch{0: list})
	c := w.laidOut[0]
	w.laidOut = nil
	c.Key, c.Inline = "", body
	e := metadata.Entry{Seq: w.view.Applied(), Term: 1, Time: int64(w.view.Applied()), Commands: []metadata.Command{c}}
	metadata.EncodeEntry(e)
	e.EachInline(func(key string, body []byte) { objects[key] = body })
	if res, ok := w.view.Apply(e)[0].(metadata.CommitObjectResult); !ok || res.Err != nil {
		w.tb.Fatalf("%+v", res)
	}
}
