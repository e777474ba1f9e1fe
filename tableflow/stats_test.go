package tableflow

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bargedata/barge/record"
)

func TestDeltaStatsOfAFile(t *testing.T) {
	long := strings.Repeat("é", 40)
	_, stats := writeFile(t, WriterConfig{},
		rows{1, []record.Record{
			{Offset: 7, Timestamp: 1_700_000_000_123, Key: []byte("b"), Value: []byte(long)},
			{Offset: 9, Timestamp: -1, Value: []byte{0xff}},
		}},
		rows{4, []record.Record{{Offset: 3, Timestamp: 1_700_000_000_124, Key: []byte(""), Value: []byte("a\x00\"<")}}},
	)
	want := `{"numRecords":3,` +
		`"minValues":{"_kafka_partition":1,"_kafka_offset":3,"_kafka_timestamp":"1969-12-31T23:59:59.999Z","key":"","value":"a\u0000\"\u003c"},` +
		`"maxValues":{"_kafka_partition":4,"_kafka_offset":9,"_kafka_timestamp":"2023-11-14T22:13:20.124Z","key":"b","value":"` + strings.Repeat("é", 31) + `ê"},` +
		`"nullCount":{"_kafka_partition":0,"_kafka_offset":0,"_kafka_timestamp":0,"_kafka_key":3,"_kafka_value":2,"_kafka_headers":0,"_kafka_schema_id":3,"_kafka_error":3,"key":1,"value":1},` +
		`"tightBounds":true}`
	if got := stats.DeltaStats(); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func TestBoundsThatEnginesCanNotReadAreLeftOut(t *testing.T) {
	top := strings.Repeat("\U0010FFFF", 40)
	_, stats := writeFile(t, WriterConfig{}, rows{0, []record.Record{
		{Offset: 0, Timestamp: 1, Key: []byte(top)}, {Offset: 1, Timestamp: 253_402_300_800_000}, {Offset: 2, Timestamp: math.MaxInt64},
	}})
	var s struct{ MinValues, MaxValues map[string]any }
	if err := json.Unmarshal([]byte(stats.DeltaStats()), &s); err != nil {
		t.Fatal(err)
	}
	if s.MinValues["_kafka_timestamp"] != nil || s.MaxValues["_kafka_timestamp"] != nil {
		t.Errorf("bounds in the year 10000: %v %v", s.MinValues, s.MaxValues)
	}
	if s.MinValues["key"] == nil || s.MaxValues["key"] != nil {
		t.Errorf("bounds of a key that nothing lies above: %v %v", s.MinValues["key"], s.MaxValues["key"])
	}
	if stats.Misfits != 1 || s.MaxValues["_kafka_error"] == nil {
		t.Errorf("%d misfits, %v", stats.Misfits, s.MaxValues)
	}
	if stats.Parts[0].MaxTimestamp != math.MaxInt64 {
		t.Errorf("part's max timestamp %d", stats.Parts[0].MaxTimestamp)
	}
}

// Whatever the strings, the bounds enclose them, are valid text and short.
func TestTextBoundsEncloseEveryString(t *testing.T) {
	runes := []rune{0, 'a', 'b', 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xffff, 0x10000, utf8.MaxRune}
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var b textBounds
		var all [][]byte
		for range 1 + rng.IntN(8) {
			var v []byte
			for range rng.IntN(40) * rng.IntN(2) {
				v = utf8.AppendRune(v, runes[rng.IntN(len(runes))])
			}
			for range rng.IntN(36) * rng.IntN(2) { // many share a long prefix
				v = append([]byte("\U0010FFFF"), v...)
			}
			all = append(all, v)
			b.add(v)
		}
		lo, hi := b.literals()
		var low, high string
		if err := json.Unmarshal(lo, &low); err != nil {
			t.Fatal(err)
		}
		if hi != nil {
			if err := json.Unmarshal(hi, &high); err != nil {
				t.Fatal(err)
			}
		}
		for _, v := range all {
			if bytes.Compare(v, []byte(low)) < 0 || (hi != nil && bytes.Compare(v, []byte(high)) > 0) {
				t.Fatalf("seed %d: %q is not within %q and %q", seed, v, low, high)
			}
		}
		if utf8.RuneCountInString(low) > textChars || utf8.RuneCountInString(high) > textChars || !utf8.ValidString(high) {
			t.Fatalf("seed %d: bounds %q and %q", seed, low, high)
		}
	}
}
