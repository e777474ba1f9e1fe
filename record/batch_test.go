package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestParseReadsWhatKmsgWrites(t *testing.T) {
	k := kmsg.RecordBatch{
		FirstOffset: 77, PartitionLeaderEpoch: 3, Magic: 2, Attributes: int16(LZ4) | attrLogAppendTime | attrTransactional | attrControl,
		LastOffsetDelta: 9, FirstTimestamp: 1000, MaxTimestamp: 2000, ProducerID: 1 << 40, ProducerEpoch: 5, FirstSequence: 6, NumRecords: 4,
		Records: []byte("payload"),
	}
	raw := k.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[posLength:], uint32(len(raw)-lengthOverhead))
	binary.BigEndian.PutUint32(raw[posCRC:], Checksum(raw[posAttributes:]))
	b := mustParse(t, append(raw, "what follows"...))
	for name, ok := range map[string]bool{
		"Bytes": bytes.Equal(b.Bytes(), raw), "Len": b.Len() == Len(len(raw)), "BaseOffset": b.BaseOffset() == 77, "LastOffset": b.LastOffset() == 86,
		"LeaderEpoch": b.LeaderEpoch() == 3, "Codec": b.Codec() == LZ4, "TimestampType": b.TimestampType() == LogAppendTime,
		"Transactional": b.Transactional(), "Control": b.Control(), "LastOffsetDelta": b.LastOffsetDelta() == 9, "OffsetCount": b.OffsetCount() == 10,
		"BaseTimestamp": b.BaseTimestamp() == 1000, "MaxTimestamp": b.MaxTimestamp() == 2000, "ProducerID": b.ProducerID() == 1<<40,
		"ProducerEpoch": b.ProducerEpoch() == 5, "BaseSequence": b.BaseSequence() == 6, "Records": b.Records() == 4, "CRC": b.CRC() == Checksum(raw[21:]),
		"payload": string(b.payload()) == "payload", "IsZero": !b.IsZero(),
	} {
		if !ok {
			t.Errorf("%s is not what was written", name)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := build(t, None, oddRecords(0)...).Bytes()
	change := func(crc bool, f func(p []byte)) []byte {
		p := bytes.Clone(good)
		f(p)
		if crc {
			binary.BigEndian.PutUint32(p[posCRC:], Checksum(p[posAttributes:]))
		}
		return p
	}
	put := func(at int, v uint32) func([]byte) { return func(p []byte) { binary.BigEndian.PutUint32(p[at:], v) } }
	for name, c := range map[string]struct {
		raw  []byte
		want error
	}{
		"nothing":              {nil, ErrTruncated},
		"part of the header":   {good[:17], ErrTruncated},
		"all but one byte":     {good[:len(good)-1], ErrTruncated},
		"magic 0":              {change(false, func(p []byte) { p[posMagic] = 0 }), ErrMagic},
		"magic 1, short":       {change(false, func(p []byte) { p[posMagic] = 1 })[:26], ErrMagic},
		"magic 3":              {change(false, func(p []byte) { p[posMagic] = 3 }), ErrMagic},
		"length under header":  {change(false, put(posLength, 48)), ErrCorrupt},
		"length negative":      {change(false, put(posLength, math.MaxUint32)), ErrCorrupt},
		"length over buffer":   {change(false, put(posLength, math.MaxInt32)), ErrTruncated},
		"bit flipped":          {change(false, func(p []byte) { p[len(p)-1] ^= 1 }), ErrCorrupt},
		"crc flipped":          {change(false, func(p []byte) { p[posCRC] ^= 1 }), ErrCorrupt},
		"count negative":       {change(true, put(posRecords, math.MaxUint32)), ErrInvalid},
		"count over offsets":   {change(true, put(posRecords, 7)), ErrInvalid},
		"delta negative":       {change(true, put(posLastOffsetDelta, math.MaxUint32)), ErrInvalid},
		"delta that overflows": {change(true, put(posLastOffsetDelta, math.MaxInt32)), ErrInvalid},
	} {
		if _, err := Parse(c.raw); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if errors.Is(c.want, ErrCorrupt) && len(c.raw) == len(good) && binary.BigEndian.Uint32(c.raw[posLength:]) == uint32(len(good)-lengthOverhead) {
			continue // a checksum: not Split's business
		}
		if _, _, err := Split(c.raw); !errors.Is(err, c.want) {
			t.Errorf("%s: Split: %v, want %v", name, err, c.want)
		}
	}
}

func TestSplitWalksARun(t *testing.T) {
	run := append(bytes.Clone(build(t, None, oddRecords(0)...).Bytes()), build(t, Zstd, oddRecords(6)...).Bytes()...)
	var offsets []Offset
	for rest := run; len(rest) > 0; {
		b, after, err := Split(rest)
		if err != nil {
			t.Fatal(err)
		}
		if cap(b.Bytes()) != len(b.Bytes()) {
			t.Error("an append to the batch would write into the next one")
		}
		offsets, rest = append(offsets, b.BaseOffset()), after
	}
	if len(offsets) != 2 || offsets[1] != 6 {
		t.Errorf("batches at %v, want 0 and 6", offsets)
	}
}

func TestPatchHeaderMovesABatchWithoutTouchingIt(t *testing.T) {
	for _, codec := range codecs {
		b := build(t, codec, oddRecords(0)...)
		before := bytes.Clone(b.Bytes())
		moved := append(PatchHeader([]byte{}, b, 1<<40, 12), b.Bytes()[PatchLen:]...)
		got := mustParse(t, moved)
		if got.BaseOffset() != 1<<40 || got.LeaderEpoch() != 12 || !bytes.Equal(b.Bytes(), before) {
			t.Errorf("%s: base %d, epoch %d, want %d, 12 and the original as it was", codec, got.BaseOffset(), got.LeaderEpoch(), int64(1)<<40)
		}
		records, err := got.Decode(DefaultLimits(), nil)
		if err != nil {
			t.Fatal(err)
		}
		wantRecords(t, records, oddRecords(1<<40))
	}
}

func TestStampLogAppendTimeRulesEveryRecord(t *testing.T) {
	raw := bytes.Clone(build(t, Gzip, oddRecords(0)...).Bytes())
	if _, err := StampLogAppendTime(raw, 42); err != nil {
		t.Fatal(err)
	}
	b := mustParse(t, raw) // the CRC is new
	records, err := b.Decode(DefaultLimits(), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := oddRecords(0)
	for i := range want {
		want[i].Timestamp, want[i].TimestampType = 42, LogAppendTime
	}
	wantRecords(t, records, want)
	if _, err := StampMaxTimestamp(raw, 43); err != nil || mustParse(t, raw).MaxTimestamp() != 43 {
		t.Errorf("StampMaxTimestamp: %v, maximum %d, want 43", err, mustParse(t, raw).MaxTimestamp())
	}
}
