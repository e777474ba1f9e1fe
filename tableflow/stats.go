package tableflow

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/bargedata/barge/record"
)

// FileStats says what a closed file holds: enough for its metadata entry and for its Delta add action.
type FileStats struct {
	Rows     int64
	Size     int64         // bytes
	Misfits  int64         // rows with _kafka_error set
	RawBytes int64         // keys, values and headers before compression
	Parts    []Part        // by partition, each partition once
	Columns  []ColumnStats // the visible columns, in schema order
}

// Part is the stretch of consecutive row groups that holds one partition's rows.
type Part struct {
	Partition    int32
	Base, Last   record.Offset // of the first and the last row
	RowGroup     int32         // first row group
	RowGroups    int32
	Rows         int64
	MaxTimestamp int64 // milliseconds
}

// ColumnStats are one visible column's statistics as Delta wants them. Min and Max are JSON literals, nil when the
// column has no bounds to tell (binary, all NULL, or bounds an engine could not read back).
type ColumnStats struct {
	Name      string
	NullCount int64
	Min, Max  json.RawMessage
}

// DeltaStats returns the statistics as the JSON text of an add action's stats.
func (s FileStats) DeltaStats() string {
	var b bytes.Buffer
	object := func(name string, literal func(ColumnStats) []byte) {
		b.WriteString(`,"` + name + `":{`)
		first := true
		for _, c := range s.Columns {
			v := literal(c)
			if v == nil {
				continue
			}
			if !first {
				b.WriteByte(',')
			}
			first = false
			b.Write(mustJSON(c.Name))
			b.WriteByte(':')
			b.Write(v)
		}
		b.WriteByte('}')
	}
	b.WriteString(`{"numRecords":`)
	b.Write(mustJSON(s.Rows))
	object("minValues", func(c ColumnStats) []byte { return c.Min })
	object("maxValues", func(c ColumnStats) []byte { return c.Max })
	object("nullCount", func(c ColumnStats) []byte { return mustJSON(c.NullCount) })
	b.WriteString(`,"tightBounds":true}`)
	return b.String()
}

// mustJSON encodes a string or an integer, which can not fail.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte("null")
	}
	return b
}

// longBounds follows the smallest and the largest of a column's integers.
type longBounds struct {
	set      bool
	min, max int64
}

func (b *longBounds) add(v int64) {
	if !b.set {
		b.set, b.min, b.max = true, v, v
		return
	}
	b.min, b.max = min(b.min, v), max(b.max, v)
}

func (b *longBounds) literals() (lo, hi json.RawMessage) {
	if !b.set {
		return nil, nil
	}
	return mustJSON(b.min), mustJSON(b.max)
}

// The first and the last millisecond of the years 1 to 9999. Engines parse the bounds of timestamps when they open the
// table, and one they can not parse would fail it. Leaving such a bound out is no way: delta-rs skips files that miss one
// that others have. So the writer keeps timestamps outside these years out of the column.
const (
	firstMilli = -62_135_596_800_000
	lastMilli  = 253_402_300_799_999
)

// timestamps renders bounds in milliseconds, from firstMilli to lastMilli. Rows hold whole milliseconds, so nothing is cut.
func (b *longBounds) timestamps() (lo, hi json.RawMessage) {
	if !b.set {
		return nil, nil
	}
	text := func(ms int64) json.RawMessage {
		return mustJSON(time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	return text(b.min), text(b.max)
}

const (
	textChars    = 32 // how many characters of a string a bound keeps, unless all of these are topChar
	maxTextChars = 64 // and then
	topChar      = "\U0010FFFF"
)

// unbounded tells whether no bound of maxTextChars characters lies at or above v: it begins with that many topChar, and
// goes on. Such strings can not stand in a string column, where every file's bounds must be there (see firstMilli).
func unbounded(v []byte) bool {
	for range maxTextChars {
		if !bytes.HasPrefix(v, []byte(topChar)) {
			return false
		}
		v = v[len(topChar):]
	}
	return len(v) > 0
}

// textBounds follows the smallest and the largest of a column's strings, cut by cutText. UTF-8 bytes and code points have
// the same order, so bytes are compared; cutting keeps that order.
type textBounds struct {
	set      bool
	maxCut   bool // the largest was longer than max
	min, max []byte
}

// add takes a valid UTF-8 string that is not unbounded.
func (b *textBounds) add(v []byte) {
	if b.set && bytes.Compare(v, b.min) >= 0 && bytes.Compare(v, b.max) <= 0 {
		return
	}
	t := cutText(v)
	cut := len(t) < len(v)
	if !b.set {
		b.set, b.maxCut = true, cut
		b.min, b.max = append(b.min[:0], t...), append(b.max[:0], t...)
		return
	}
	if bytes.Compare(t, b.min) < 0 {
		b.min = append(b.min[:0], t...)
	}
	switch c := bytes.Compare(t, b.max); {
	case c > 0:
		b.max, b.maxCut = append(b.max[:0], t...), cut
	case c == 0:
		b.maxCut = b.maxCut || cut
	}
}

func (b *textBounds) literals() (lo, hi json.RawMessage) {
	if !b.set {
		return nil, nil
	}
	lo = mustJSON(string(b.min))
	top := b.max
	if b.maxCut {
		top = roundUp(top)
	}
	return lo, mustJSON(string(top))
}

// cutText returns the first textChars characters of v, and more as long as they all are topChar: what is cut can be
// rounded up.
func cutText(v []byte) []byte {
	if len(v) <= textChars {
		return v
	}
	n, top := 0, true
	for chars := 0; n < len(v) && (chars < textChars || top); chars++ {
		r, size := utf8.DecodeRune(v[n:])
		n += size
		top = top && r == utf8.MaxRune
	}
	return v[:n]
}

// roundUp returns a string greater than every string that starts with v, by raising its last character below topChar;
// there must be one.
func roundUp(v []byte) []byte {
	for len(v) > 0 {
		r, size := utf8.DecodeLastRune(v)
		v = v[:len(v)-size]
		switch r {
		case utf8.MaxRune:
			continue
		case 0xD7FF: // the surrogates that follow are no characters
			r = 0xE000
		default:
			r++
		}
		return utf8.AppendRune(bytes.Clone(v), r)
	}
	return nil
}
