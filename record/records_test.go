package record

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestWhatFranzGoProducesIsValidAndDecodes(t *testing.T) {
	big := oddRecords(0)
	big = append(big, Record{Offset: 6, Key: text(1, 300<<10), Value: text(2, 3<<20)}, Record{Offset: 7, Value: random(3, 2<<20)})
	for _, codec := range codecs {
		for name, want := range map[string][]Record{"small": oddRecords(0), "large": big} {
			b := mustParse(t, seal(codec, int32(len(want)), kgoCompress(t, codec, kmsgPayload(want))))
			if err := b.ValidateProduce(DefaultLimits()); err != nil {
				t.Errorf("%s, %s: %v", codec, name, err)
			}
			got, err := b.Decode(DefaultLimits(), nil)
			if err != nil {
				t.Fatalf("%s, %s: %v", codec, name, err)
			}
			wantRecords(t, got, want)
		}
	}
}

func TestFranzGoReadsWhatWeBuild(t *testing.T) {
	for _, codec := range codecs {
		want := append(oddRecords(10), Record{Offset: 500, Timestamp: 1, Value: text(4, 1<<20)}) // with a gap
		raw := build(t, codec, want...).Bytes()
		var k kmsg.RecordBatch
		if err := k.ReadFrom(raw); err != nil {
			t.Fatal(err)
		}
		p, err := kgo.DefaultDecompressor().Decompress(k.Records, kgo.CompressionCodecType(codec))
		if err != nil {
			t.Fatalf("%s: %v", codec, err)
		}
		var got []Record
		for range k.NumRecords {
			var r kmsg.Record
			if err := r.ReadFrom(p); err != nil {
				t.Fatal(err)
			}
			p = p[len(r.AppendTo(nil)):]
			back := Record{Offset: Offset(k.FirstOffset) + Offset(r.OffsetDelta), Timestamp: k.FirstTimestamp + r.TimestampDelta64, Key: r.Key, Value: r.Value}
			for _, h := range r.Headers {
				back.Headers = append(back.Headers, Header{Key: h.Key, Value: h.Value})
			}
			got = append(got, back)
		}
		wantRecords(t, got, want)
		if len(p) > 0 || k.LastOffsetDelta != 490 || k.MaxTimestamp != 1_700_000_000_005 || k.ProducerID != -1 || k.ProducerEpoch != -1 || k.FirstSequence != -1 {
			t.Errorf("%s: header %+v with %d bytes left over", codec, k, len(p))
		}
	}
}

func TestTenMebibyteRecordsAndLargestBatches(t *testing.T) {
	for _, codec := range codecs {
		want := []Record{{Value: random(7, 10<<20)}, {Offset: 1, Value: text(8, 10<<20)}}
		b := build(t, codec, want...)
		if err := b.ValidateProduce(DefaultLimits()); err != nil {
			t.Errorf("%s: %v", codec, err)
		}
		got, err := b.Decode(DefaultLimits(), nil)
		if err != nil {
			t.Fatal(err)
		}
		wantRecords(t, got, want)
	}
	b := build(t, None, Record{Value: make([]byte, 64<<20)})
	if err := b.ValidateProduce(DefaultLimits()); err != nil {
		t.Error(err)
	}
}

func TestValidateProduceRefuses(t *testing.T) {
	good := oddRecords(0)
	payload := kmsgPayload(good)
	count := int32(len(good))
	one := kmsgPayload(good[:1])
	header := func(f func(k *kmsg.RecordBatch)) []byte {
		var k kmsg.RecordBatch
		if err := k.ReadFrom(seal(None, count, payload)); err != nil {
			t.Fatal(err)
		}
		f(&k)
		raw := k.AppendTo(nil)
		b, err := StampMaxTimestamp(raw, k.MaxTimestamp) // for the CRC
		if err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for name, c := range map[string]struct {
		raw  []byte
		want error
	}{
		"no records":             {header(func(k *kmsg.RecordBatch) { k.NumRecords = 0 }), ErrInvalid},
		"a gap":                  {header(func(k *kmsg.RecordBatch) { k.LastOffsetDelta++ }), ErrInvalid},
		"control batch":          {header(func(k *kmsg.RecordBatch) { k.Attributes |= attrControl }), ErrInvalid},
		"log append time":        {header(func(k *kmsg.RecordBatch) { k.Attributes |= attrLogAppendTime }), ErrInvalid},
		"id without sequence":    {header(func(k *kmsg.RecordBatch) { k.ProducerID = 1 }), ErrInvalid},
		"id without epoch":       {header(func(k *kmsg.RecordBatch) { k.ProducerID, k.FirstSequence = 1, 0 }), ErrInvalid},
		"id under -1":            {header(func(k *kmsg.RecordBatch) { k.ProducerID = -2 }), ErrInvalid},
		"codec 5":                {header(func(k *kmsg.RecordBatch) { k.Attributes |= 5 }), ErrUnknownCodec},
		"codec 7":                {header(func(k *kmsg.RecordBatch) { k.Attributes |= 7 }), ErrUnknownCodec},
		"fewer than declared":    {seal(None, 2, one), ErrInvalid},
		"more than declared":     {seal(None, count-1, payload), ErrInvalid},
		"a byte after the last":  {seal(None, count, append(bytes.Clone(payload), 0)), ErrInvalid},
		"cut off":                {seal(None, count, payload[:len(payload)-1]), ErrInvalid},
		"deltas out of order":    {seal(None, 2, append(bytes.Clone(one), one...)), ErrInvalid},
		"empty record":           {seal(None, 1, []byte{0}), ErrInvalid},
		"negative length":        {seal(None, 1, []byte{1, 0, 0, 0, 1, 1, 0}), ErrInvalid},
		"length beyond the end":  {seal(None, 1, []byte{14, 0, 0, 0, 1, 1, 0}), ErrInvalid},
		"length too large":       {seal(None, 1, []byte{14, 0, 0, 0, 1, 1, 0, 0}), ErrInvalid},
		"length too small":       {seal(None, 1, []byte{10, 0, 0, 0, 1, 1, 0}), ErrInvalid},
		"key of -2 bytes":        {seal(None, 1, []byte{12, 0, 0, 0, 3, 1, 0}), ErrInvalid},
		"key beyond the record":  {seal(None, 1, []byte{12, 0, 0, 0, 100, 1, 0}), ErrInvalid},
		"headers below zero":     {seal(None, 1, []byte{12, 0, 0, 0, 1, 1, 1}), ErrInvalid},
		"headers beyond the end": {seal(None, 1, []byte{12, 0, 0, 0, 1, 1, 100}), ErrInvalid},
		"header key null":        {seal(None, 1, []byte{16, 0, 0, 0, 1, 1, 2, 1, 1}), ErrInvalid},
		"varint over 32 bits":    {seal(None, 1, []byte{22, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0x7f, 1, 1, 0, 0, 0}), ErrInvalid},
		"varint over 64 bits":    {seal(None, 1, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}), ErrInvalid},
		"varint without end":     {seal(None, 1, bytes.Repeat([]byte{0xff}, 30)), ErrInvalid},
	} {
		b := mustParse(t, c.raw)
		if err := b.ValidateProduce(DefaultLimits()); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if err := mustParse(t, seal(None, count, payload)).ValidateProduce(DefaultLimits()); err != nil {
		t.Errorf("the batch all others are made from: %v", err)
	}
	if err := mustParse(t, header(func(k *kmsg.RecordBatch) { k.ProducerID, k.ProducerEpoch, k.FirstSequence = 0, 0, 0 })).ValidateProduce(DefaultLimits()); err != nil {
		t.Errorf("idempotent batch: %v", err)
	}
}

func TestTooManyHeadersInOneRecord(t *testing.T) {
	r := Record{Headers: make([]Header, maxRecordHeaders+1)}
	b := mustParse(t, seal(Zstd, 1, kgoCompress(t, Zstd, kmsgPayload([]Record{r}))))
	if err := b.ValidateProduce(DefaultLimits()); !errors.Is(err, ErrInvalid) {
		t.Errorf("%d headers: %v, want ErrInvalid", len(r.Headers), err)
	}
	r.Headers = r.Headers[1:]
	b = mustParse(t, seal(Zstd, 1, kgoCompress(t, Zstd, kmsgPayload([]Record{r}))))
	if err := b.ValidateProduce(DefaultLimits()); err != nil {
		t.Errorf("%d headers: %v", len(r.Headers), err)
	}
}

func TestInspectionTellsWhatTheHeaderMayGetWrong(t *testing.T) {
	payload := kmsgPayload(oddRecords(0))
	for _, codec := range codecs {
		b := mustParse(t, seal(codec, 6, kgoCompress(t, codec, payload))) // its header says 0
		got, err := b.InspectProduce(DefaultLimits(), AnyRecord())
		want := Inspection{MaxTimestamp: 1_700_000_000_005, Decompressed: int64(len(payload))}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", codec, got, err, want)
		}
	}
}

func TestInspectionNamesRecordsThatBreakTheTopicsRules(t *testing.T) {
	key := []byte("k")
	records := []Record{
		{Offset: 0, Timestamp: 100, Key: key},
		{Offset: 1, Timestamp: 99, Key: key},
		{Offset: 2, Timestamp: 200, Key: key},
		{Offset: 3, Timestamp: 201, Key: key},
		{Offset: 4, Timestamp: 150},
		{Offset: 5, Timestamp: -1, Key: key},
		{Offset: 6, Timestamp: 300},
	}
	b := mustParse(t, seal(Zstd, int32(len(records)), kgoCompress(t, Zstd, kmsgPayload(records))))
	got, err := b.InspectProduce(DefaultLimits(), ProduceRules{Keys: true, MinTimestamp: 100, MaxTimestamp: 200})
	want := []RefusedRecord{{Index: 1, Timestamp: 99, Early: true}, {Index: 3, Timestamp: 201, Late: true}, {Index: 4, Timestamp: 150}, {Index: 6, Timestamp: 300}}
	if err != nil || !reflect.DeepEqual(got.Refused, want) {
		t.Errorf("refused %+v, %v; want %+v", got.Refused, err, want)
	}
	var many []Record
	for i := range 3 * maxRefused {
		many = append(many, Record{Offset: Offset(i)})
	}
	b = mustParse(t, seal(Zstd, int32(len(many)), kgoCompress(t, Zstd, kmsgPayload(many))))
	if got, err = b.InspectProduce(DefaultLimits(), ProduceRules{Keys: true, MinTimestamp: 0, MaxTimestamp: 1}); err != nil || len(got.Refused) != maxRefused {
		t.Errorf("%d records named, %v; want %d", len(got.Refused), err, maxRefused)
	}
}

func TestDecodeKeepsToTheOffsetsOfABatch(t *testing.T) {
	gap := []Record{{Offset: 5, Value: []byte("a")}, {Offset: 9, Value: []byte("b")}}
	b := build(t, None, gap...)
	got, err := b.Decode(DefaultLimits(), nil)
	if err != nil {
		t.Fatal(err)
	}
	wantRecords(t, got, gap)
	twice := kmsgPayload(gap[:1])
	twice = append(twice, twice...)
	if _, err := mustParse(t, seal(None, 2, twice)).Decode(DefaultLimits(), nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("one offset twice: %v, want ErrInvalid", err)
	}
}

func TestBuilderStretchesOverGaps(t *testing.T) {
	b := NewBuilder(None)
	b.Reset(100)
	if err := b.Append(&Record{Offset: 103, Timestamp: -1}); err != nil {
		t.Fatal(err)
	}
	b.SetLastOffset(102) // before the last record: nothing
	b.SetLastOffset(199)
	batch := mustParse(t, must(b.Build(nil)))
	if batch.BaseOffset() != 100 || batch.LastOffset() != 199 || batch.Records() != 1 || batch.MaxTimestamp() != -1 {
		t.Errorf("offsets %d to %d, %d records, maximum %d", batch.BaseOffset(), batch.LastOffset(), batch.Records(), batch.MaxTimestamp())
	}
	if b.Len() != len(batch.Bytes()) || b.Count() != 1 {
		t.Errorf("Len %d, Count %d, want %d, 1", b.Len(), b.Count(), len(batch.Bytes()))
	}
	b.Reset(7)
	if _, err := b.Build(nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("a batch of nothing: %v, want ErrInvalid", err)
	}
	b.SetLastOffset(7)
	if empty := mustParse(t, must(b.Build(nil))); empty.Records() != 0 || empty.OffsetCount() != 1 || empty.BaseOffset() != 7 {
		t.Errorf("a batch of one gap: %d records, %d offsets at %d", empty.Records(), empty.OffsetCount(), empty.BaseOffset())
	} else if got, err := empty.Decode(DefaultLimits(), nil); err != nil || len(got) > 0 {
		t.Errorf("a batch of one gap: %v, %v", got, err)
	}
}

func TestBuilderRefusesWhatDoesNotFit(t *testing.T) {
	b := NewBuilder(None)
	b.Reset(10)
	for _, c := range []struct {
		r    Record
		want bool
	}{
		{Record{Offset: 9}, false},
		{Record{Offset: 10, TimestampType: LogAppendTime, Timestamp: 3}, true},
		{Record{Offset: 10, TimestampType: LogAppendTime, Timestamp: 3}, false},
		{Record{Offset: 11, TimestampType: LogAppendTime, Timestamp: 4}, false},
		{Record{Offset: 11, Timestamp: 3}, false},
		{Record{Offset: 10 + math.MaxInt32, TimestampType: LogAppendTime, Timestamp: 3}, false},
		{Record{Offset: 9 + math.MaxInt32, TimestampType: LogAppendTime, Timestamp: 3}, true},
	} {
		if err := b.Append(&c.r); (err == nil) != c.want {
			t.Errorf("append %+v: %v, want it to fit: %t", c.r, err, c.want)
		}
	}
	if got := mustParse(t, must(b.Build(nil))); got.TimestampType() != LogAppendTime || got.MaxTimestamp() != 3 || got.Records() != 2 {
		t.Errorf("type %d, maximum %d, %d records", got.TimestampType(), got.MaxTimestamp(), got.Records())
	}
}

func must[T any](p T, err error) T {
	if err != nil {
		panic(err)
	}
	return p
}

// The bytes an encoder chooses may change with its library; that old bytes stay readable may not.
func TestGoldenBatches(t *testing.T) {
	want := oddRecords(1000)
	golden(t, "batch-none.bin", build(t, None, want...).Bytes())
	for _, codec := range codecs {
		name := "batch-" + codec.String() + ".bin"
		if *update {
			golden(t, name, build(t, codec, want...).Bytes())
		}
		b := mustParse(t, must(os.ReadFile(filepath.Join("testdata", name))))
		got, err := b.Decode(DefaultLimits(), nil)
		if err != nil || b.Codec() != codec {
			t.Errorf("%s: %v, %v", name, b.Codec(), err)
		}
		wantRecords(t, got, want)
	}
}
