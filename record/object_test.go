package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
)

func partition(topic byte, index int32) Partition {
	return Partition{Topic: TopicID{0: topic, 15: 9}, Index: index}
}

var testHeader = ObjectHeader{ClusterHash: 0x0102030405060708, Session: 7, Counter: 9, PutID: [16]byte{1, 2, 3, 15: 16}}

// testObject is a small object of three runs, the second of two batches.
func testObject(tb testing.TB) (body []byte, runs []RunEntry, batches []Batch) {
	tb.Helper()
	batches = []Batch{build(tb, None, oddRecords(0)...), build(tb, None, Record{Value: []byte("x"), Timestamp: 5}), build(tb, None, oddRecords(3)...), build(tb, None, Record{Timestamp: -1})}
	size := Len(0)
	for _, b := range batches {
		size += b.Len()
	}
	w := NewObjectWriter(testHeader, int(ObjectSize(3, int64(size))))
	if err := w.Add(partition(1, 0), batches[0]); err != nil {
		tb.Fatal(err)
	}
	if err := w.Add(partition(1, 3), batches[1:3]...); err != nil {
		tb.Fatal(err)
	}
	if err := w.Add(partition(2, 0), batches[3]); err != nil {
		tb.Fatal(err)
	}
	if int64(w.Len()) != objectHeaderLen+int64(size) {
		tb.Errorf("Len is %d, want %d", w.Len(), objectHeaderLen+int64(size))
	}
	body, runs, err := w.Finish()
	if err != nil {
		tb.Fatal(err)
	}
	if len(body) != cap(body) || int64(len(body)) != ObjectSize(3, int64(size)) {
		tb.Errorf("body of %d bytes, capacity %d: want one allocation of %d", len(body), cap(body), ObjectSize(3, int64(size)))
	}
	if w.Checksum() != Checksum(body) {
		tb.Errorf("Checksum is %08x, of the bytes %08x", w.Checksum(), Checksum(body))
	}
	return body, runs, batches
}

func TestObjectReadsBack(t *testing.T) {
	body, runs, batches := testObject(t)
	h, got, err := ReadObject(body)
	if err != nil {
		t.Fatal(err)
	}
	if h != testHeader || !slices.Equal(got, runs) {
		t.Errorf("header %+v, runs %+v\nwant %+v, %+v", h, got, testHeader, runs)
	}
	want := RunEntry{
		Partition: partition(1, 3), Pos: objectHeaderLen + Pos(batches[0].Len()), Len: batches[1].Len() + batches[2].Len(), Batches: 2, Records: 7,
		MaxTimestamp: 1_700_000_000_005, CRC: Checksum(slices.Concat(batches[1].Bytes(), batches[2].Bytes())),
	}
	if runs[1] != want {
		t.Errorf("second run %+v, want %+v", runs[1], want)
	}
	if runs[2].MaxTimestamp != -1 {
		t.Errorf("a run without timestamps has maximum %d, want -1", runs[2].MaxTimestamp)
	}
	b, rest, err := Split(body[want.Pos:][:want.Len])
	if err != nil || !bytes.Equal(b.Bytes(), batches[1].Bytes()) || !bytes.Equal(rest, batches[2].Bytes()) {
		t.Errorf("batches of the run are not byte-identical: %v", err)
	}
	for _, n := range []int{objectTrailerLen + checksumLen + 3*objectEntryLen, 400, len(body)} {
		got, err := ReadFooter(body[len(body)-n:], int64(len(body)))
		if err != nil || !slices.Equal(got, runs) {
			t.Errorf("footer from the last %d bytes: %+v, %v", n, got, err)
		}
	}
	if _, err := ReadFooter(body[len(body)-200:], int64(len(body))); !errors.Is(err, ErrTruncated) {
		t.Errorf("footer from too few bytes: %v, want ErrTruncated", err)
	}
}

func TestEveryFlippedBitOfAnObjectIsNoticed(t *testing.T) {
	body, _, _ := testObject(t)
	for at := range body {
		body[at] ^= 1 << (at % 8)
		if _, _, err := ReadObject(body); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrMagic) {
			t.Errorf("bit %d of byte %d of %d: %v, want ErrCorrupt or ErrMagic", at%8, at, len(body), err)
		}
		body[at] ^= 1 << (at % 8)
	}
	for n := range len(body) {
		if _, _, err := ReadObject(body[:n]); err == nil {
			t.Errorf("an object cut to %d of %d bytes is read", n, len(body))
		}
	}
	if _, _, err := ReadObject(append(body, 0)); err == nil {
		t.Error("an object with a byte after it is read")
	}
}

// A checksum over wrong numbers is right about them: the footer must also agree with the body.
func TestFooterThatLiesIsNoticed(t *testing.T) {
	for name, lie := range map[string]func(runs []RunEntry){
		"batches":   func(r []RunEntry) { r[1].Batches++ },
		"records":   func(r []RunEntry) { r[1].Records-- },
		"timestamp": func(r []RunEntry) { r[2].MaxTimestamp = 4 },
		"order":     func(r []RunEntry) { r[2].Partition = partition(1, 0) },
		"gap":       func(r []RunEntry) { r[1].Pos++ },
		"overlong":  func(r []RunEntry) { r[2].Len += 1 << 40 },
		"negative":  func(r []RunEntry) { r[2].Len = -1 },
		"split":     func(r []RunEntry) { r[0].Len -= 61; r[1].Pos -= 61; r[1].Len += 61 },
	} {
		body, runs, _ := testObject(t)
		lie(runs)
		footer := len(body) - objectTrailerLen - checksumLen - 3*objectEntryLen
		forged := body[:footer:footer]
		for _, r := range runs {
			forged = r.appendTo(forged)
		}
		forged = binary.BigEndian.AppendUint32(forged, Checksum(forged[footer:]))
		forged = append(forged, body[len(body)-objectTrailerLen:]...)
		end := len(forged) - objectTrailerLen + trailerCRCPos
		binary.BigEndian.PutUint32(forged[end:], Checksum(forged[:end]))
		if _, _, err := ReadObject(forged); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
}

func TestObjectWriterRefusesDisorder(t *testing.T) {
	b := build(t, None, oddRecords(0)...)
	w := NewObjectWriter(testHeader, 0)
	if _, _, err := w.Finish(); !errors.Is(err, ErrInvalid) {
		t.Errorf("an object without runs: %v, want ErrInvalid", err)
	}
	if err := w.Add(partition(2, 1), b); err != nil {
		t.Fatal(err)
	}
	for _, p := range []Partition{partition(2, 1), partition(2, 0), partition(1, 9)} {
		if err := w.Add(p, b); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v after 2/1: %v, want ErrInvalid", p, err)
		}
	}
	if err := w.Add(partition(3, 0)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a run without batches: %v, want ErrInvalid", err)
	}
	body, _, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ReadObject(body); err != nil {
		t.Errorf("after the refusals: %v", err)
	}
	if _, _, err := w.Finish(); err == nil {
		t.Error("an object is finished twice")
	}
	if err := w.Add(partition(4, 0), b); err == nil {
		t.Error("a finished object takes a run")
	}
}

func TestObjectKey(t *testing.T) {
	if got, want := ObjectKey(0x2a, 1<<40, "r4nd"), "wal/1/000000000000002a/0000010000000000-r4nd"; got != want {
		t.Errorf("key %q, want %q", got, want)
	}
}

func TestGoldenObject(t *testing.T) {
	body, _, _ := testObject(t)
	golden(t, "wal-object-v1.bin", body)
}

func TestObjectKeysAreReadBack(t *testing.T) {
	for key, want := range map[string]ParsedObjectKey{
		ObjectKey(0x2a, 7, "r4nd"):    {Session: 0x2a, Counter: 7},
		ObjectKey(1<<63, 1<<63, "x"):  {Session: 1 << 63, Counter: 1 << 63},
		SortedObjectKey(0x2a, "n4me"): {Session: 0x2a, Sorted: true},
	} {
		if got, ok := ParseObjectKey(key); !ok || got != want {
			t.Errorf("%s: %+v, %v; want %+v", key, got, ok, want)
		}
		if !strings.HasPrefix(key, SessionPrefix(want.Session)) || strings.HasPrefix(key, SessionPrefix(want.Session+1)) {
			t.Errorf("%s does not lie under its own session's prefix alone", key)
		}
	}
	for _, key := range []string{
		"", "wal/1/", "wal/1/000000000000002a/", "wal/1/000000000000002a/sorted-", "wal/1/000000000000002a/0000000000000007-",
		"wal/1/000000000000002A/0000000000000007-x", "wal/1/000000000000002a/0x00000000000007-x", "wal/2/000000000000002a/0000000000000007-x",
		"wal/1/+00000000000002a/0000000000000007-x", "wal/1/000000000000002a/0000000000000007x", "tables/t/_data/x.parquet",
	} {
		if got, ok := ParseObjectKey(key); ok {
			t.Errorf("%q is taken for %+v", key, got)
		}
	}
}
