package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// stream reads all of a payload through the inflater, the way validation does.
func stream(c Codec, src []byte, limit int64) ([]byte, error) {
	f, err := newInflater(c, src, limit)
	if err != nil {
		return nil, err
	}
	defer f.release()
	return io.ReadAll(f)
}

func TestCodecNames(t *testing.T) {
	for _, c := range codecs {
		if got, err := ParseCodec(c.String()); err != nil || got != c || !c.Known() {
			t.Errorf("%s parses as %v, %v", c, got, err)
		}
	}
	if _, err := ParseCodec("brotli"); !errors.Is(err, ErrUnknownCodec) || Codec(5).Known() {
		t.Errorf("brotli: %v, want ErrUnknownCodec", err)
	}
}

func TestCompressedBytesComeBack(t *testing.T) {
	inputs := map[string][]byte{
		"empty": {}, "byte": {7}, "text": text(1, 100<<10), "random": random(1, 100<<10), "zeros": make([]byte, 3<<20), "long": text(2, 5<<20),
	}
	for _, c := range codecs {
		for name, in := range inputs {
			packed := must(appendCompressed([]byte("before"), c, c.DefaultLevel(), in))[len("before"):]
			for how, got := range map[string]func(Codec, []byte, int64) ([]byte, error){"stream": stream, "inflate": inflate} {
				if c == Snappy && len(in) == 0 {
					packed = append(bytes.Clone(packed[:xerialHeaderLen]), 0, 0, 0, 1, 0)
				}
				out, err := got(c, packed, int64(len(in)))
				if err != nil || !bytes.Equal(out, in) {
					t.Errorf("%s, %s, %s: %d bytes, %v; want %d", c, name, how, len(out), err, len(in))
				}
				if len(in) > 0 {
					if _, err := got(c, packed, int64(len(in)-1)); !errors.Is(err, ErrTooLarge) && c != None {
						t.Errorf("%s, %s, %s: one byte over the limit: %v, want ErrTooLarge", c, name, how, err)
					}
				}
			}
		}
	}
}

func TestZstdPacksLiteralsThatRepeatNothing(t *testing.T) {
	const digits = "0123456789abcdef"
	hex := random(9, 64<<10)
	for i, c := range hex {
		hex[i] = digits[c&15]
	}
	if packed := must(appendCompressed(nil, Zstd, Zstd.DefaultLevel(), hex)); len(packed) > len(hex)*6/10 {
		t.Errorf("random hexadecimal of %d bytes takes %d, want about half", len(hex), len(packed))
	}
}

func TestSnappyShapes(t *testing.T) {
	// Records that repeat after a long way make references reach further than any window but the whole block's.
	far := append(random(1, 3<<20), text(1, 2<<20)...)
	far = append(far, far[:64<<10]...)
	inputs := map[string][]byte{"small": text(3, 1000), "whole": text(3, snappyWhole), "over": text(3, snappyWhole+1), "far": far, "zeros": make([]byte, 5<<20)}
	for name, in := range inputs {
		shapes := map[string][]byte{"raw": s2.EncodeSnappy(nil, in), "raw, better": s2.EncodeSnappyBest(nil, in), "framed": appendSnappy(nil, in)}
		frame := []byte(xerialMagic + "\x00\x00\x00\x01\x00\x00\x00\x01")
		block := s2.EncodeSnappy(nil, in)
		frame = append(binary.BigEndian.AppendUint32(frame, uint32(len(block))), block...)
		empty := s2.EncodeSnappy(nil, nil)
		frame = append(binary.BigEndian.AppendUint32(frame, uint32(len(empty))), empty...)
		shapes["framed, one block"] = frame
		for shape, packed := range shapes {
			out, err := stream(Snappy, packed, int64(len(in)))
			if err != nil || !bytes.Equal(out, in) {
				t.Errorf("%s, %s: %d bytes, %v; want %d", name, shape, len(out), err, len(in))
			}
		}
	}
}

func TestSnappyRefuses(t *testing.T) {
	good := s2.EncodeSnappy(nil, text(1, 1000))
	framed := appendSnappy(nil, text(1, 1000))
	for name, c := range map[string]struct {
		p    []byte
		want error
	}{
		"nothing":                    {nil, ErrInvalid},
		"cut off":                    {good[:len(good)-1], ErrInvalid},
		"byte after":                 {append(bytes.Clone(good), 0), ErrInvalid},
		"length only":                {[]byte{5}, ErrInvalid},
		"length without end":         {bytes.Repeat([]byte{0xff}, 12), ErrInvalid},
		"length over limit":          {[]byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0}, ErrTooLarge},
		"copy before the start":      {[]byte{8, 0, 'a', 1 | 3<<2, 2}, ErrInvalid},
		"copy of distance 0":         {[]byte{8, 0, 'a', 1 | 3<<2, 0}, ErrInvalid},
		"header of the framing only": {framed[:15], ErrInvalid},
		"block length cut off":       {framed[:xerialHeaderLen+2], ErrInvalid},
		"block cut off":              {framed[:len(framed)-1], ErrInvalid},
		"block length negative":      {append(bytes.Clone(framed[:xerialHeaderLen]), 0xff, 0xff, 0xff, 0xff, 1), ErrInvalid},
	} {
		if _, err := stream(Snappy, c.p, 1<<20); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// lz4Frame compresses with options; dependent blocks can only be asked for by hand.
func lz4Frame(tb testing.TB, in []byte, options ...lz4.Option) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := lz4.NewWriter(&buf)
	if err := w.Apply(options...); err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(in); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func TestLZ4Frames(t *testing.T) {
	in := append(text(1, 300<<10), random(1, 100<<10)...)
	for name, packed := range map[string][]byte{
		"plain":            lz4Frame(t, in, lz4.ChecksumOption(false), lz4.BlockSizeOption(lz4.Block64Kb)),
		"content checksum": lz4Frame(t, in, lz4.ChecksumOption(true), lz4.BlockSizeOption(lz4.Block4Mb)),
		"block checksums":  lz4Frame(t, in, lz4.BlockChecksumOption(true), lz4.BlockSizeOption(lz4.Block256Kb)),
		"content size":     lz4Frame(t, in, lz4.SizeOption(uint64(len(in))), lz4.BlockSizeOption(lz4.Block1Mb)),
	} {
		out, err := stream(LZ4, packed, int64(len(in)))
		if err != nil || !bytes.Equal(out, in) {
			t.Errorf("%s: %d bytes, %v; want %d", name, len(out), err, len(in))
		}
		for what, bad := range map[string][]byte{
			"cut off": packed[:len(packed)-1], "header damaged": append(append([]byte{}, packed[:6]...), append([]byte{packed[6] ^ 1}, packed[7:]...)...),
			"byte after": append(bytes.Clone(packed), 0), "second frame": append(bytes.Clone(packed), packed...), "magic": packed[1:], "short": packed[:8],
		} {
			if _, err := stream(LZ4, bad, int64(2*len(in))); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s, %s: %v, want ErrInvalid", name, what, err)
			}
		}
	}
	sum := lz4Frame(t, in, lz4.ChecksumOption(true))
	sum[len(sum)-1] ^= 1
	if _, err := stream(LZ4, sum, int64(len(in))); !errors.Is(err, ErrInvalid) {
		t.Errorf("wrong content checksum: %v, want ErrInvalid", err)
	}
	for flag, want := range map[byte]string{lz4FlagIndependent: "dependent", lz4FlagDictionary: "dictionary", 0x80: "version"} {
		bad := lz4Frame(t, in)
		bad[4] ^= flag
		if _, err := stream(LZ4, bad, int64(len(in))); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("flag %#x: %v, want a word of %q", flag, err, want)
		}
	}
}

func TestGzipRefusesWhatFollowsTheFirstMember(t *testing.T) {
	packed := must(appendCompressed(nil, Gzip, Gzip.DefaultLevel(), text(1, 1000)))
	for name, bad := range map[string][]byte{
		"second member": append(bytes.Clone(packed), packed...), "byte": append(bytes.Clone(packed), 0), "cut off": packed[:len(packed)-1], "nothing": nil,
	} {
		if _, err := stream(Gzip, bad, 1<<20); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	damaged := bytes.Clone(packed)
	damaged[len(damaged)-8] ^= 1
	if _, err := stream(Gzip, damaged, 1<<20); !errors.Is(err, ErrInvalid) {
		t.Errorf("wrong checksum: %v, want ErrInvalid", err)
	}
}

func TestZstdWindowIsBounded(t *testing.T) {
	in := text(1, 9<<20)
	for window, want := range map[int]error{maxZstdWindow: nil, 2 * maxZstdWindow: ErrTooLarge} {
		w, err := zstd.NewWriter(nil, zstd.WithWindowSize(window), zstd.WithSingleSegment(false))
		if err != nil {
			t.Fatal(err)
		}
		packed := w.EncodeAll(in, nil)
		if window > maxZstdWindow {
			// A streamed frame names the encoder's window, however little there is to say.
			var buf bytes.Buffer
			w.Reset(&buf)
			for p := in; len(p) > 0; p = p[1<<20:] {
				if _, err := w.Write(p[:1<<20]); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			packed = buf.Bytes()
		}
		if _, err := stream(Zstd, packed, 64<<20); !errors.Is(err, want) {
			t.Errorf("window of %d MiB: %v, want %v", window>>20, err, want)
		}
	}
}

// bombs are payloads of count records that are small and decompress to size bytes, as the strongest encoder makes them.
func bombs(tb testing.TB, size int) map[string]Batch {
	tb.Helper()
	p := kmsgPayload([]Record{{Value: make([]byte, size)}})
	gz := new(bytes.Buffer)
	w, err := gzip.NewWriterLevel(gz, gzip.BestCompression)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(p); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	lying := s2.EncodeSnappy(nil, p[:10])
	lying = append(binary.AppendUvarint(nil, 1<<31), lying[1:]...)
	var rle []byte // a zstd frame that claims a great content: RLE blocks
	rle = append(rle, 0x28, 0xb5, 0x2f, 0xfd, 0xe0)
	rle = binary.LittleEndian.AppendUint64(rle, 8<<20)
	for i := range 64 {
		last := uint32(0)
		if i == 63 {
			last = 1
		}
		block := last | 1<<1 | (128<<10)<<3
		rle = append(rle, byte(block), byte(block>>8), byte(block>>16), 0)
	}
	out := map[string]Batch{}
	for name, c := range map[string]struct {
		codec Codec
		p     []byte
	}{
		"gzip": {Gzip, gz.Bytes()}, "snappy raw": {Snappy, s2.EncodeSnappy(nil, p)}, "snappy framed": {Snappy, appendSnappy(nil, p)},
		"snappy lying": {Snappy, lying}, "lz4 64 KiB": {LZ4, lz4Frame(tb, p, lz4.BlockSizeOption(lz4.Block64Kb))},
		"lz4 4 MiB": {LZ4, lz4Frame(tb, p, lz4.BlockSizeOption(lz4.Block4Mb))}, "zstd": {Zstd, must(appendCompressed(nil, Zstd, Zstd.DefaultLevel(), p))}, "zstd rle": {Zstd, rle},
	} {
		out[name] = mustParse(tb, seal(c.codec, 1, c.p))
	}
	return out
}

func TestBombsAreCutOffAndValidationKeepsNothing(t *testing.T) {
	const size = 64 << 20
	all := bombs(t, size)
	for name, b := range all {
		for _, limit := range []int64{1 << 20, size} { // the records are a little larger than their value
			limits := Limits{Decompressed: limit}
			if name == "zstd rle" {
				continue // not records: validation stops at the first
			}
			var err error
			got := allocated(func() { err = b.ValidateProduce(limits) })
			if !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s, limit %d: %v, want ErrTooLarge", name, limit, err)
			}
			// Two zstd windows and the decoder's tables are the most any codec needs.
			if got > 40<<20 {
				t.Errorf("%s, limit %d: validating %d bytes allocated %d MiB", name, limit, b.Len(), got>>20)
			}
		}
		got := allocated(func() {
			if _, err := b.Decode(Limits{Decompressed: 1 << 20}, nil); !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s: decode: %v, want ErrTooLarge", name, err)
			}
		})
		if got > 40<<20 {
			t.Errorf("%s: decoding at most 1 MiB allocated %d MiB", name, got>>20)
		}
	}
	for name, b := range all { // within the limit: legal, and still nothing is kept
		if strings.Contains(name, "lying") || strings.Contains(name, "rle") {
			continue
		}
		var err error
		if got := allocated(func() { err = b.ValidateProduce(DefaultLimits()) }); err != nil || got > 40<<20 {
			t.Errorf("%s: %v, allocated %d MiB for 64 MiB of zeros", name, err, got>>20)
		}
	}
}

func TestACountThatLiesAllocatesNothing(t *testing.T) {
	b := mustParse(t, seal(None, 1<<30, kmsgPayload(oddRecords(0))))
	got := allocated(func() {
		if _, err := b.Decode(DefaultLimits(), nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v, want ErrInvalid", err)
		}
		if err := b.ValidateProduce(DefaultLimits()); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v, want ErrInvalid", err)
		}
	})
	if got > 1<<20 {
		t.Errorf("allocated %d bytes", got)
	}
}
