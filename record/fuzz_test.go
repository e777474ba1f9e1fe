package record

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"
)

// Memory a walk may take whatever its input says: two zstd windows of 8 MiB, the decoder's tables, and a little.
const fuzzMemory = 40 << 20

func seedBatches(f *testing.F, add func(raw []byte)) {
	f.Helper()
	for _, codec := range codecs {
		add(build(f, codec, oddRecords(0)...).Bytes())
		add(seal(codec, 6, kgoCompress(f, codec, kmsgPayload(oddRecords(0)))))
	}
	add(build(f, None, Record{Offset: 3}, Record{Offset: 9, TimestampType: CreateTime, Timestamp: -1}).Bytes())
	add(nil)
}

// sentinel reports whether err is of the kinds callers act on.
func sentinel(err error) bool {
	return slices.ContainsFunc([]error{ErrTruncated, ErrMagic, ErrCorrupt, ErrInvalid, ErrUnknownCodec, ErrTooLarge}, func(target error) bool { return errors.Is(err, target) })
}

func FuzzParse(f *testing.F) {
	seedBatches(f, func(raw []byte) { f.Add(raw) })
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, rest, err := Split(raw)
		parsed, parseErr := Parse(raw)
		if err != nil {
			if parseErr == nil || !sentinel(err) || !sentinel(parseErr) {
				t.Fatalf("Split: %v, Parse: %v", err, parseErr)
			}
			return
		}
		if !bytes.Equal(append(bytes.Clone(b.Bytes()), rest...), raw) {
			t.Fatal("batch and rest are not the input")
		}
		if b.OffsetCount() < 1 || b.Records() < 0 || b.Records() > b.OffsetCount() {
			t.Fatalf("%d records in %d offsets", b.Records(), b.OffsetCount())
		}
		if parseErr == nil != (b.CRC() == Checksum(b.Bytes()[posAttributes:])) {
			t.Fatalf("Parse: %v, with CRC %08x", parseErr, b.CRC())
		}
		moved := append(PatchHeader(nil, b, b.BaseOffset(), b.LeaderEpoch()), b.Bytes()[PatchLen:]...)
		if !bytes.Equal(moved, b.Bytes()) {
			t.Fatal("patching a batch with its own numbers changes it")
		}
		if _, err := StampLogAppendTime(moved, 5); err != nil {
			t.Fatal(err)
		}
		if stamped, err := Parse(moved); err != nil || stamped.MaxTimestamp() != 5 || stamped.TimestampType() != LogAppendTime {
			t.Fatalf("stamped batch: %v", err)
		}
		_ = parsed
	})
}

// FuzzDecode feeds arbitrary payloads to every codec; what decodes is built again and must come back the same.
func FuzzDecode(f *testing.F) {
	for _, codec := range codecs {
		f.Add(uint8(codec), int32(6), kgoCompress(f, codec, kmsgPayload(oddRecords(0))))
		f.Add(uint8(codec), int32(6), must(appendCompressed(nil, codec, codec.DefaultLevel(), kmsgPayload(oddRecords(0)))))
	}
	for _, b := range bombs(f, 8<<20) {
		f.Add(uint8(b.Codec()), int32(1), bytes.Clone(b.payload()))
	}
	limits := Limits{Decompressed: 4 << 20}
	f.Fuzz(func(t *testing.T, codec uint8, count int32, payload []byte) {
		if count < 1 || count > 1<<20 {
			count = 1
		}
		b, err := Parse(seal(Codec(codec%5), count, payload))
		if err != nil {
			t.Fatal(err)
		}
		var records []Record
		used := allocated(func() {
			err = b.Each(limits, func(r *Record) bool {
				if len(records) < 1000 {
					records = append(records, *r)
				}
				return true
			})
		})
		if used > fuzzMemory*2 { // every record's headers may take twenty times their bytes, one record at a time
			t.Fatalf("decoding %d bytes allocated %d MiB", len(payload), used>>20)
		}
		if err != nil {
			if !sentinel(err) {
				t.Fatalf("%v is no error of ours", err)
			}
			return
		}
		if len(records) != int(count) {
			return
		}
		again, err := build(t, Codec(codec%5), records...).Decode(DefaultLimits(), nil)
		if err != nil {
			t.Fatal(err)
		}
		wantRecords(t, again, records)
	})
}

// FuzzValidateProduce holds validation, which streams, against decoding, which does not: they agree on what is well formed.
func FuzzValidateProduce(f *testing.F) {
	seedBatches(f, func(raw []byte) { f.Add(raw) })
	for _, b := range bombs(f, 8<<20) {
		f.Add(b.Bytes())
	}
	limits := Limits{Decompressed: 4 << 20}
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = bytes.Clone(raw)
		b, err := StampMaxTimestamp(raw, 1) // so that a mutation gets past the CRC
		if err != nil {
			return
		}
		var got Inspection
		used := allocated(func() {
			got, err = b.InspectProduce(limits, ProduceRules{Keys: true, MinTimestamp: math.MinInt64, MaxTimestamp: math.MaxInt64})
		})
		if used > fuzzMemory {
			t.Fatalf("validating %d bytes allocated %d MiB", len(raw), used>>20)
		}
		if err != nil && !sentinel(err) {
			t.Fatalf("%v is no error of ours", err)
		}
		if b.checkProduce() != nil {
			if err == nil {
				t.Fatal("the header is wrong and passes")
			}
			return
		}
		inOrder, newest, nullKeys := true, int64(-1<<63), 0
		next := b.BaseOffset()
		decodeErr := b.Each(limits, func(r *Record) bool {
			inOrder = inOrder && r.Offset == next
			next++
			newest = max(newest, r.Timestamp)
			if r.Key == nil {
				nullKeys++
			}
			return true
		})
		if (decodeErr == nil && inOrder) != (err == nil) {
			t.Fatalf("validation says %v, decoding %v (in order: %t)", err, decodeErr, inOrder)
		}
		if err == nil && (got.MaxTimestamp != newest || len(got.Refused) != min(nullKeys, maxRefused)) {
			t.Fatalf("inspection %+v, decoding finds %d and %d", got, newest, nullKeys)
		}
	})
}

func FuzzReadObject(f *testing.F) {
	body, _, _ := testObject(f)
	f.Add(body)
	f.Add(body[:objectHeaderLen])
	f.Add(body[len(body)-objectTrailerLen:])
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, body []byte) {
		var h ObjectHeader
		var runs []RunEntry
		var err error
		if used := allocated(func() { h, runs, err = ReadObject(body) }); used > 4<<20+uint64(4*len(body)) {
			t.Fatalf("reading %d bytes allocated %d", len(body), used)
		}
		if err != nil {
			if !sentinel(err) {
				t.Fatalf("%v is no error of ours", err)
			}
			if _, err := ReadFooter(body, int64(len(body))); err != nil && !sentinel(err) {
				t.Fatalf("footer: %v is no error of ours", err)
			}
			return
		}
		w := NewObjectWriter(h, len(body))
		for _, run := range runs {
			var batches []Batch
			for rest := body[run.Pos:][:run.Len]; len(rest) > 0; {
				b, after, err := Split(rest)
				if err != nil {
					t.Fatal(err)
				}
				batches, rest = append(batches, b), after
			}
			if err := w.Add(run.Partition, batches...); err != nil {
				t.Fatal(err)
			}
		}
		if again, _, err := w.Finish(); err != nil || !bytes.Equal(again, body) {
			t.Fatalf("written again, the object differs: %v", err)
		}
	})
}
