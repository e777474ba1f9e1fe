package fetch

import (
	"math/bits"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// look is what the View says about one partition of a request.
type look struct {
	ask metadataAsk
	loc metadata.Location
	err error
}

// metadataAsk is where a partition's reader stands and how much it takes.
type metadataAsk struct {
	p     record.Partition
	from  record.Offset
	limit int64
}

// available estimates the bytes that wait for a reader: of the slice it stands in the share that lies ahead, of the
// others all. Offsets inside a run say little about bytes, but the estimate only decides when a long poll ends and who gets how much.
func available(slices []metadata.Slice, from record.Offset) int64 {
	var sum int64
	for i := range slices {
		s := &slices[i]
		size := sliceBytes(s)
		if from > s.Base && s.End > s.Base {
			size = int64(float64(size) * float64(max(s.End-from, 0)) / float64(s.End-s.Base))
		}
		sum += max(size, 1)
	}
	return sum
}

// sliceBytes is a run's size, and for a part of a Parquet file its share of the file by rows.
func sliceBytes(s *metadata.Slice) int64 {
	if s.Run != nil {
		return int64(s.Run.Len)
	}
	if s.File.Rows <= 0 {
		return int64(s.File.Size)
	}
	return int64(float64(s.File.Size) * min(1, float64(s.Part.Rows)/float64(s.File.Rows)))
}

// allot divides the bytes of a response among its partitions: who comes first in order gets what it asks for, the next
// ones what is left. Parquet is compressed and its batches are not, so a partition that reads a file is allotted all it
// asks for; total is what was allotted. forced is the partition whose first batch goes out whatever its size: the first with anything to give; -1 if none.
func allot(looks []look, order []int, budget int64) (limits []int64, total int64, forced int) {
	limits, forced = make([]int64, len(looks)), -1
	for _, i := range order {
		l := &looks[i]
		if l.err != nil || len(l.loc.Slices) == 0 {
			continue
		}
		if forced < 0 {
			forced = i
		}
		limits[i] = min(l.ask.limit, budget)
		take := limits[i]
		if last := l.loc.Slices[len(l.loc.Slices)-1]; last.Run != nil && l.loc.Slices[0].Run != nil {
			take = min(take, available(l.loc.Slices, l.ask.from))
		}
		budget -= take
		total += take
	}
	return limits, total, forced
}

// golden is 2^64 divided by the golden ratio.
const golden = 0x9e3779b97f4a7c15

// rotation is the order in which n partitions are served in their turn: cyclic from a place that differs from turn to
// turn, so that the last ones of a long request do not starve. The places are multiples of the golden ratio, of all numbers the
// one whose multiples keep farthest apart on a circle: whatever turns a consumer has, every second or every fifth, each place
// comes first as often as any other, give or take a few.
func rotation(n int, turn uint64) []int {
	first, _ := bits.Mul64(turn*golden, uint64(n))
	order := make([]int, n)
	for i := range order {
		order[i] = (int(first) + i) % n
	}
	return order
}

// placed is a batch and its place in the log.
type placed struct {
	batch record.Batch
	base  record.Offset
}

// chunks turns batches into what goes on the wire: for each its patched header, all of them in one allocation, and its
// body where it lies. Every leader epoch is 0: no partition of ours ever changes its leader in the sense of Kafka.
func chunks(dst [][]byte, batches []placed) [][]byte {
	heads := make([]byte, 0, len(batches)*record.PatchLen)
	for _, b := range batches {
		at := len(heads)
		heads = record.PatchHeader(heads, b.batch, b.base, 0)
		dst = append(dst, heads[at:len(heads):len(heads)], b.batch.Bytes()[record.PatchLen:])
	}
	return dst
}
