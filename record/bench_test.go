package record

import (
	"fmt"
	"testing"
)

// benchRecords are log lines of about 200 bytes, so many that they make size bytes.
func benchRecords(size int) []Record {
	var records []Record
	for n := 0; n < size; n += 200 {
		records = append(records, Record{Offset: Offset(len(records)), Timestamp: 1_700_000_000_000 + int64(len(records)), Key: text(uint64(n), 16), Value: text(uint64(n)+1, 180)})
	}
	return records
}

func BenchmarkParse(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			raw := build(b, None, benchRecords(size)...).Bytes()
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Bytes are those after decompression, so that codecs can be compared.
func BenchmarkValidateProduce(b *testing.B) {
	for _, codec := range codecs {
		b.Run(codec.String(), func(b *testing.B) {
			records := benchRecords(256 << 10)
			plain, batch := build(b, None, records...), build(b, codec, records...)
			b.SetBytes(int64(plain.Len()))
			b.ReportAllocs()
			for b.Loop() {
				if err := batch.ValidateProduce(DefaultLimits()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEach(b *testing.B) {
	batch := build(b, None, benchRecords(256<<10)...)
	b.SetBytes(int64(batch.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if err := batch.Each(DefaultLimits(), func(*Record) bool { return true }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBuilder(b *testing.B) {
	records := benchRecords(1 << 20)
	builder := NewBuilder(None)
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		builder.Reset(0)
		for i := range records {
			if err := builder.Append(&records[i]); err != nil {
				b.Fatal(err)
			}
		}
		var err error
		if dst, err = builder.Build(dst[:0]); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(dst)))
	}
}

func BenchmarkObjectWriter(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("8MiB of %dKiB", size>>10), func(b *testing.B) {
			batch := build(b, None, benchRecords(size)...)
			runs := 8 << 20 / int(batch.Len())
			hint := int(ObjectSize(runs, int64(runs)*int64(batch.Len())))
			b.SetBytes(int64(hint))
			b.ReportAllocs()
			for b.Loop() {
				w := NewObjectWriter(ObjectHeader{}, hint)
				for i := range runs {
					if err := w.Add(Partition{Index: int32(i)}, batch); err != nil {
						b.Fatal(err)
					}
				}
				if _, _, err := w.Finish(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
