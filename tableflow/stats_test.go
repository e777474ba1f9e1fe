package tableflow

import (
	"bytes"
	"encoding/json"
	"errors"
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

// delta-rs skips a file that lacks a bound which other files have, so values that no bound can cover leave the column.
func TestBoundsAreThereForWhateverAColumnHolds(t *testing.T) {
	top := func(n int, tail string) []byte { return []byte(strings.Repeat(topChar, n) + tail) }
	for name, c := range map[string]struct {
		rows     []record.Record
		min, max map[string]any
		nulls    map[string]int
	}{
		"year 10000 beside others": {
			rows: []record.Record{{Offset: 1, Timestamp: lastMilli + 1}, {Offset: 2, Timestamp: lastMilli}, {Offset: 3, Timestamp: firstMilli}, {Offset: 4, Timestamp: firstMilli - 1}},
			min:  map[string]any{"_kafka_timestamp": "0001-01-01T00:00:00.000Z"}, max: map[string]any{"_kafka_timestamp": "9999-12-31T23:59:59.999Z"},
			nulls: map[string]int{"_kafka_timestamp": 2, "_kafka_error": 2},
		},
		"year 10000 alone": {
			rows: []record.Record{{Offset: 1, Timestamp: lastMilli + 1}},
			min:  map[string]any{"_kafka_timestamp": nil}, max: map[string]any{"_kafka_timestamp": nil},
			nulls: map[string]int{"_kafka_timestamp": 1},
		},
		"nothing lies above the first 32 characters": {
			rows: []record.Record{{Offset: 1, Key: top(40, ""), Value: top(40, "a and so on")}},
			min:  map[string]any{"key": string(top(40, "")), "value": string(top(40, "a"))}, max: map[string]any{"key": string(top(40, "")), "value": string(top(40, "b"))},
			nulls: map[string]int{"key": 0, "value": 0, "_kafka_value": 1},
		},
		"nor above the first 64": {
			rows: []record.Record{{Offset: 1, Key: top(64, ""), Value: top(64, "a")}, {Offset: 2, Key: top(65, ""), Value: top(1<<20, "")}},
			min:  map[string]any{"key": string(top(64, "")), "value": nil}, max: map[string]any{"key": string(top(64, "")), "value": nil},
			nulls: map[string]int{"key": 1, "_kafka_key": 1, "value": 2, "_kafka_value": 0, "_kafka_error": 2},
		},
	} {
		t.Run(name, func(t *testing.T) {
			body, stats := writeFile(t, WriterConfig{}, rows{0, c.rows})
			f, _ := openFile(t, body)
			if d := diff(c.rows, readPart(t, f, stats.Parts[0], 0)); d != "" {
				t.Error(d)
			}
			var s struct {
				MinValues, MaxValues map[string]any
				NullCount            map[string]int
			}
			if err := json.Unmarshal([]byte(stats.DeltaStats()), &s); err != nil {
				t.Fatal(err)
			}
			for col, want := range c.min {
				if s.MinValues[col] != want || s.MaxValues[col] != c.max[col] {
					t.Errorf("%s: %q to %q, want %q to %q", col, s.MinValues[col], s.MaxValues[col], want, c.max[col])
				}
			}
			for col, want := range c.nulls {
				if s.NullCount[col] != want {
					t.Errorf("%s: %d nulls, want %d", col, s.NullCount[col], want)
				}
			}
			if n := c.nulls["_kafka_timestamp"]; stats.Misfits != int64(n) {
				t.Errorf("%d misfits, want %d", stats.Misfits, n)
			}
		})
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
			for range rng.IntN(70) * rng.IntN(2) { // many share a long prefix
				v = append([]byte(topChar), v...)
			}
			if unbounded(v) {
				continue
			}
			all = append(all, v)
			b.add(v)
		}
		if all == nil {
			continue
		}
		lo, hi := b.literals()
		var low, high string
		if err := errors.Join(json.Unmarshal(lo, &low), json.Unmarshal(hi, &high)); err != nil {
			t.Fatalf("seed %d: bounds %s and %s of %q: %v", seed, lo, hi, all, err)
		}
		for _, v := range all {
			if bytes.Compare(v, []byte(low)) < 0 || bytes.Compare(v, []byte(high)) > 0 {
				t.Fatalf("seed %d: %q is not within %q and %q", seed, v, low, high)
			}
		}
		short := func(s string) bool {
			n := utf8.RuneCountInString(s)
			return n <= textChars || (n <= maxTextChars && strings.HasPrefix(s, strings.Repeat(topChar, textChars)))
		}
		if !short(low) || !short(high) || !utf8.ValidString(high) {
			t.Fatalf("seed %d: bounds %q and %q", seed, low, high)
		}
	}
}
