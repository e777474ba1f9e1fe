package fetch

import (
	"errors"
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
