package record

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// levelsOf are the levels of a codec that a topic may name, and some beyond, which are taken for the nearest.
func levelsOf(c Codec) []int {
	switch c {
	case Gzip:
		return []int{-5, -1, 1, 6, 9, 99}
	case LZ4:
		return []int{0, 1, 2, 8, 9, 17}
	case Zstd:
		return []int{-131072, 1, 3, 7, 10, 22}
	default:
		return []int{0}
	}
}

// A recompressed batch holds the same records under the same header, whatever it came from and becomes.
func TestRecompressedBatchHoldsTheSameRecords(t *testing.T) {
	for from := None; from <= Zstd; from++ {
		b := NewBuilder(from)
		b.Reset(0)
		for i := range 50 {
			r := Record{Offset: Offset(i), Timestamp: int64(5000 - i), Key: []byte(fmt.Sprint("key", i)), Value: bytes.Repeat([]byte("some text "), 40), Headers: []Header{{Key: "h"}}}
			if i == 7 {
				r.Key, r.Value = nil, nil
			}
			if err := b.Append(&r); err != nil {
				t.Fatal(err)
			}
		}
		raw, err := b.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		copy(raw[posProducerID:], []byte{0, 0, 0, 0, 0, 0, 0, 9, 0, 3, 0, 0, 0, 77}) // a producer, its epoch and sequence
		old := must(StampMaxTimestamp(raw, 5000))
		before := bytes.Clone(raw)
		want := must(old.Decode(DefaultLimits(), nil))
		for to := None; to <= Zstd; to++ {
			for _, level := range levelsOf(to) {
				got, err := Recompress(old, to, level, DefaultLimits())
				if err != nil {
					t.Fatalf("%s to %s at %d: %v", from, to, level, err)
				}
				parsed, err := Parse(got.Bytes())
				if err != nil {
					t.Fatalf("%s to %s at %d: %v", from, to, level, err)
				}
				if _, err := parsed.InspectProduce(DefaultLimits(), AnyRecord()); err != nil {
					t.Errorf("%s to %s at %d: %v", from, to, level, err)
				}
				if records := must(parsed.Decode(DefaultLimits(), nil)); fmt.Sprint(records) != fmt.Sprint(want) {
					t.Errorf("%s to %s at %d: other records", from, to, level)
				}
				if parsed.Codec() != to || parsed.ProducerID() != 9 || parsed.ProducerEpoch() != 3 || parsed.BaseSequence() != 77 || parsed.MaxTimestamp() != 5000 {
					t.Errorf("%s to %s at %d: the header is %x", from, to, level, parsed.Bytes()[:BatchHeaderLen])
				}
				if to != None && len(got.Bytes()) > len(want)*100 {
					t.Errorf("%s to %s at %d: %d bytes are not compressed", from, to, level, len(got.Bytes()))
				}
			}
		}
		if !bytes.Equal(raw, before) {
			t.Errorf("the bytes of the %s batch changed", from)
		}
	}
}

func TestRecompressIsBounded(t *testing.T) {
	b := NewBuilder(Zstd)
	b.Reset(0)
	if err := b.Append(&Record{Value: make([]byte, 1<<20)}); err != nil {
		t.Fatal(err)
	}
	batch := must(Parse(must(b.Build(nil))))
	if _, err := Recompress(batch, None, 0, Limits{Decompressed: 1 << 19}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a batch that unfolds beyond the limit: %v", err)
	}
	if _, err := Recompress(batch, 7, 0, DefaultLimits()); !errors.Is(err, ErrUnknownCodec) {
		t.Errorf("a codec that does not exist: %v", err)
	}
}
