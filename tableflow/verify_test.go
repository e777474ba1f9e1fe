package tableflow

import (
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/bargedata/barge/record"
)

// verified reads a file with Verify, as rows by partition.
func verified(t *testing.T, body []byte) (parts []rows, err error) {
	t.Helper()
	f, err := OpenFile(t.Context(), &memory{body: body}, "k", int64(len(body)))
	if err != nil {
		return nil, err
	}
	err = f.Verify(t.Context(), func(_, partition int32, r *record.Record) error {
		if n := len(parts); n == 0 || parts[n-1].partition != partition {
			parts = append(parts, rows{partition: partition})
		}
		last := &parts[len(parts)-1]
		last.records = append(last.records, clone(r))
		return nil
	})
	return parts, err
}

// Whatever byte of a file is damaged, Verify says so, or gives the very rows that were written.
func TestVerifyMissesNoChangedRow(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	written := []rows{{2, oddRecords(rng, 40, 100)}, {5, oddRecords(rng, 25, 7)}}
	body, _ := writeFile(t, WriterConfig{RowGroupRows: 16, PageBytes: 512}, written...)
	compare := func(got []rows) string {
		if len(got) != len(written) {
			return "another number of partitions"
		}
		for i := range written {
			if got[i].partition != written[i].partition {
				return "another partition"
			}
			if d := diff(written[i].records, got[i].records); d != "" {
				return d
			}
		}
		return ""
	}
	got, err := verified(t, body)
	if err != nil {
		t.Fatal(err)
	}
	if d := compare(got); d != "" {
		t.Fatal(d)
	}
	step, caught, harmless := 7, 0, 0
	if testing.Short() {
		step = 43
	}
	for at := 0; at < len(body); at += step {
		damaged := slices.Clone(body)
		damaged[at] ^= 1 << rng.IntN(8)
		got, err := verified(t, damaged)
		switch {
		case errors.Is(err, ErrCorrupt), errors.Is(err, ErrTooLarge), errors.Is(err, io.ErrUnexpectedEOF):
			caught++
		case err != nil:
			t.Fatalf("byte %d: %v is no damage", at, err)
		default:
			if d := compare(got); d != "" {
				t.Fatalf("byte %d: not noticed: %s", at, d)
			}
			harmless++
		}
	}
	if caught < 2*harmless {
		t.Errorf("of damaged bytes %d were noticed and %d made no difference", caught, harmless)
	}
}

// The pages that a scan leaves out, because they hold nothing but nulls, are checked too.
func TestVerifyReadsPagesOfNulls(t *testing.T) {
	body, _ := writeFile(t, WriterConfig{}, rows{0, []record.Record{{Offset: 1, Timestamp: 1, Key: []byte("k"), Value: []byte("v")}}})
	f, _ := openFile(t, body)
	for col := range f.groups[0].chunks {
		c := &f.groups[0].chunks[col]
		if !c.allNull {
			continue
		}
		damaged := slices.Clone(body)
		damaged[c.pages[0].pos+c.pages[0].len-1] ^= 1
		if _, err := verified(t, damaged); !errors.Is(err, ErrCorrupt) {
			t.Errorf("column %s: %v, want ErrCorrupt", leaves()[col].path, err)
		}
		return
	}
	t.Fatal("no column is all null")
}

func TestVerifyEndsWithTheErrorOfYield(t *testing.T) {
	body, _ := writeFile(t, WriterConfig{}, rows{0, oddRecords(rand.New(rand.NewPCG(1, 2)), 5, 0)})
	f, _ := openFile(t, body)
	n := 0
	err := f.Verify(t.Context(), func(int32, int32, *record.Record) error { n++; return io.EOF })
	if !errors.Is(err, io.EOF) || n != 1 {
		t.Errorf("%v after %d rows", err, n)
	}
}
