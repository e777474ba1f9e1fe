package tableflow

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/bargedata/barge/record"
)

// headerProblem says why the header columns can not hold the headers, "" if they can.
func headerProblem(hs []record.Header) string {
	if len(hs) > maxHeaders {
		return fmt.Sprintf("%d headers", len(hs))
	}
	for i := range hs {
		if !utf8.ValidString(hs[i].Key) {
			return fmt.Sprintf("key of header %d is not UTF-8", i)
		}
	}
	return ""
}

// appendHeaders appends the headers as Kafka frames them inside a record: count, then key and value, each with its
// length as a zigzag varint, -1 for a null value.
func appendHeaders(dst []byte, hs []record.Header) []byte {
	dst = binary.AppendVarint(dst, int64(len(hs)))
	for _, h := range hs {
		dst = binary.AppendVarint(dst, int64(len(h.Key)))
		dst = append(dst, h.Key...)
		if h.Value == nil {
			dst = binary.AppendVarint(dst, -1)
			continue
		}
		dst = binary.AppendVarint(dst, int64(len(h.Value)))
		dst = append(dst, h.Value...)
	}
	return dst
}

// parseHeaders reads what appendHeaders wrote, appending to dst. Values alias buf.
func parseHeaders(dst []record.Header, buf []byte) ([]record.Header, error) {
	take := func(null bool) ([]byte, error) {
		n, w := binary.Varint(buf)
		if w <= 0 || n > int64(len(buf)-w) || n < -1 || (n == -1 && !null) {
			return nil, fmt.Errorf("raw headers: bad length: %w", ErrCorrupt)
		}
		buf = buf[w:]
		if n == -1 {
			return nil, nil
		}
		b := buf[:n:n]
		buf = buf[n:]
		return b, nil
	}
	count, w := binary.Varint(buf)
	if w <= 0 || count < 0 || count > int64(len(buf)) {
		return nil, fmt.Errorf("raw headers: bad count: %w", ErrCorrupt)
	}
	buf = buf[w:]
	for range count {
		key, err := take(false)
		if err != nil {
			return nil, err
		}
		value, err := take(true)
		if err != nil {
			return nil, err
		}
		dst = append(dst, record.Header{Key: string(key), Value: value})
	}
	if len(buf) != 0 {
		return nil, fmt.Errorf("raw headers: %d bytes left over: %w", len(buf), ErrCorrupt)
	}
	return dst, nil
}
