//go:build realworld

package test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unicode/utf8"
)

func b64(b []byte) *string {
	if b == nil {
		return nil
	}
	s := base64.StdEncoding.EncodeToString(b)
	return &s
}

func text(s string) *string { return &s }

// oddRecords covers what a column store loses easily: null and empty apart, bytes that are not text, headers in order with duplicates
// and null values, timestamps, and a record of ten megabytes.
func oddRecords(seed uint64) []message {
	rng := rand.New(rand.NewPCG(seed, 7))
	values := [][]byte{nil, {}, []byte("plain"), {0xff, 0x00, 0xfe}, []byte("nul\x00inside"), []byte("carriage\r\nreturn"), []byte("日本語 🚢"), {0xc3, 0x28}}
	var all []message
	for i := range 600 {
		m := message{Partition: int32(i % 4), Timestamp: 1_700_000_000_000 + int64(i)*1371}
		m.Key, m.Value = b64(values[rng.IntN(len(values))]), b64(values[rng.IntN(len(values))])
		if i%3 == 0 {
			m.Value = b64(fmt.Appendf(nil, "line %d of many", i))
		}
		for h := range rng.IntN(4) {
			m.Headers = append(m.Headers, [2]*string{text([]string{"trace", "trace", "", "größe"}[h]), b64(values[rng.IntN(len(values))])})
		}
		all = append(all, m)
	}
	for i := range 3 {
		big := bytes.Repeat(fmt.Appendf(nil, "ten megabytes %d ", i), 10<<20/16)
		for j := range 4096 {
			big[j*2000] = byte('a' + rng.IntN(26))
		}
		all = append(all, message{Partition: int32(i), Timestamp: 1_700_001_000_000, Key: b64([]byte("big")), Value: b64(big)})
	}
	return all
}

func produceAll(t testing.TB, a *agent, topic, codec string, records []message) {
	t.Helper()
	var in bytes.Buffer
	enc := json.NewEncoder(&in)
	for _, m := range records {
		if err := enc.Encode(m); err != nil {
			t.Fatal(err)
		}
	}
	python(t, nil, &in, "produce.py", a.brokers, topic, codec, "true")
}

// sameRecords wants what a consumer saw to be what was produced, partition by partition in order.
func sameRecords(t testing.TB, what string, got, want []message) {
	t.Helper()
	next := map[int32][]message{}
	for _, m := range want {
		next[m.Partition] = append(next[m.Partition], m)
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d records, want %d", what, len(got), len(want))
	}
	for _, g := range got {
		w := next[g.Partition][0]
		next[g.Partition] = next[g.Partition][1:]
		if d := differ(g, w); d != "" {
			t.Fatalf("%s: partition %d offset %d: %s", what, g.Partition, g.Offset, d)
		}
	}
}

func differ(g, w message) string {
	show := func(s *string) string {
		if s == nil {
			return "null"
		}
		return fmt.Sprintf("%.60q (%d base64 digits)", *s, len(*s))
	}
	same := func(a, b *string) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }
	switch {
	case !same(g.Key, w.Key):
		return fmt.Sprintf("key %s, want %s", show(g.Key), show(w.Key))
	case !same(g.Value, w.Value):
		return fmt.Sprintf("value %s, want %s", show(g.Value), show(w.Value))
	case g.Timestamp != w.Timestamp:
		return fmt.Sprintf("timestamp %d, want %d", g.Timestamp, w.Timestamp)
	case !slices.EqualFunc(g.Headers, w.Headers, func(a, b [2]*string) bool { return same(a[0], b[0]) && same(a[1], b[1]) }):
		return fmt.Sprintf("%d headers, want %d or others", len(g.Headers), len(w.Headers))
	}
	return ""
}

func TestReplayFromParquetEqualsReplayFromObjects(t *testing.T) {
	for name, start := range map[string]func(*testing.T) backend{"file": fileBackend, "s3": s3Backend} {
		for _, codec := range codecs {
			if name == "s3" && codec != "zstd" {
				continue // the codec does not meet the store; one will do there
			}
			t.Run(name+"/"+codec, func(t *testing.T) {
				t.Parallel() // it mostly waits for the commit interval
				replay(t, start(t), codec, false)
			})
		}
	}
	t.Run("file/zstd in the log", func(t *testing.T) {
		t.Parallel()
		replay(t, fileBackend(t), "zstd", true)
	})
}

// replay reads records where they were written first, in WAL objects or (inLog) in entries of the log, and then from Parquet.
func replay(t *testing.T, b backend, codec string, inLog bool) {
	// The table waits for eight seconds, so the first read is from what was flushed; objects go after one second of grace.
	args := []string{"--release-grace", "1s", "--cache-bytes", "0"}
	if !inLog {
		args = append(args, "--inline-bytes", "0")
	}
	a := startAgent(t, b, args...)
	barge(t, b, "topic", "create", "odd", "--brokers", a.brokers, "--partitions", "4", "--config", "max.message.bytes=16777216",
		"--config", "barge.table.commit.interval.ms=8000", "--config", "retention.ms=-1") // the timestamps are years old
	want := oddRecords(uint64(len(codec)))
	produceAll(t, a, "odd", codec, want)
	objects := b.objects(t, "wal/")
	if (len(objects) == 0) != inLog {
		t.Fatalf("%d WAL objects hold the rows; are they to lie in the log: %v", len(objects), inLog)
	}
	before := consumeAll(t, a, "odd")
	sameRecords(t, "as they were flushed", before, want)

	waitFor(t, time.Minute, "every WAL object that held the rows is deleted", func() bool {
		left := b.objects(t, "wal/")
		return !slices.ContainsFunc(objects, func(key string) bool { return slices.Contains(left, key) })
	})
	waitForRows(t, b, "odd", int64(len(want)))
	after := consumeAll(t, a, "odd")
	sameRecords(t, "from Parquet", after, want)
	for i := range before {
		if before[i].Offset != after[i].Offset || before[i].Partition != after[i].Partition || before[i].TimestampType != after[i].TimestampType {
			t.Fatalf("record %d was %d/%d type %d and is %d/%d type %d", i, before[i].Partition, before[i].Offset, before[i].TimestampType,
				after[i].Partition, after[i].Offset, after[i].TimestampType)
		}
	}

	for _, engine := range engines {
		rows := readTable(t, b, engine, "odd")
		samePlaces(t, engine, rows, after)
		byPlace := map[[2]int64]row{}
		for _, r := range rows {
			byPlace[[2]int64{int64(r.Partition), r.Offset}] = r
		}
		for _, m := range after {
			r := byPlace[[2]int64{int64(m.Partition), m.Offset}]
			sameColumn(t, engine, m, r, "key", m.Key, r.Key, r.RawKey)
			sameColumn(t, engine, m, r, "value", m.Value, r.Value, r.RawValue)
			if len(r.Headers) != len(m.Headers) {
				t.Fatalf("%s: %d/%d has %d headers, want %d", engine, m.Partition, m.Offset, len(r.Headers), len(m.Headers))
			}
			for i, h := range r.Headers {
				if *h[0] != *m.Headers[i][0] || unbase64(t, h[1]) != unbase64(t, m.Headers[i][1]) || (h[1] == nil) != (m.Headers[i][1] == nil) {
					t.Fatalf("%s: %d/%d header %d differs", engine, m.Partition, m.Offset, i)
				}
			}
		}
	}

	// A fresh agent on the same store serves the same.
	a.stop(t)
	again := startAgent(t, b)
	sameRecords(t, "from a fresh agent", consumeAll(t, again, "odd"), want)
	again.stop(t)
}

// sameColumn wants a record's bytes in the text column when they are text, in the raw column when not, in neither when null.
func sameColumn(t testing.TB, engine string, m message, r row, what string, sent, textColumn, rawColumn *string) {
	t.Helper()
	if sent == nil {
		if textColumn != nil || rawColumn != nil {
			t.Fatalf("%s: %d/%d: null %s is not NULL in the table", engine, m.Partition, m.Offset, what)
		}
		return
	}
	bytes := unbase64(t, sent)
	if utf8.ValidString(bytes) != (textColumn != nil) || rowBytes(t, r, textColumn, rawColumn) != bytes {
		t.Fatalf("%s: %d/%d: %s differs from what was sent (%.60q)", engine, m.Partition, m.Offset, what, bytes)
	}
}
