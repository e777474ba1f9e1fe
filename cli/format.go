package cli

import (
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// formatter writes one record.
type formatter func(dst []byte, r *kgo.Record) []byte

// parseFormat reads a format such as `%t %p %o %k %s\n`. The letters are kcat's.
func parseFormat(format string) (formatter, error) {
	var parts []formatter
	text := func(b byte) { parts = append(parts, func(dst []byte, _ *kgo.Record) []byte { return append(dst, b) }) }
	for i := 0; i < len(format); i++ {
		c := format[i]
		if (c != '%' && c != '\\') || i+1 == len(format) {
			if c == '%' {
				return nil, usagef("-f %q ends in a single %%: write %%%% for a percent sign", format)
			}
			text(c)
			continue
		}
		i++
		if c == '\\' {
			escaped, ok := map[byte]byte{'n': '\n', 't': '\t', 'r': '\r', '0': 0, '\\': '\\'}[format[i]]
			if !ok {
				return nil, usagef("-f: unknown escape \\%c: want \\n, \\t, \\r, \\0 or \\\\", format[i])
			}
			text(escaped)
			continue
		}
		if format[i] == '%' {
			text('%')
			continue
		}
		part, ok := formatField(format[i])
		if !ok {
			return nil, usagef("-f: unknown field %%%c: want %%t topic, %%p partition, %%o offset, %%T timestamp, %%k key, %%s value, %%h headers, %%K and %%S their lengths", format[i])
		}
		parts = append(parts, part)
	}
	return func(dst []byte, r *kgo.Record) []byte {
		for _, part := range parts {
			dst = part(dst, r)
		}
		return dst
	}, nil
}

func formatField(letter byte) (formatter, bool) {
	number := func(of func(*kgo.Record) int64) formatter {
		return func(dst []byte, r *kgo.Record) []byte { return strconv.AppendInt(dst, of(r), 10) }
	}
	length := func(b []byte) int64 {
		if b == nil {
			return -1 // as kcat tells null from empty
		}
		return int64(len(b))
	}
	switch letter {
	case 't':
		return func(dst []byte, r *kgo.Record) []byte { return append(dst, r.Topic...) }, true
	case 'k':
		return func(dst []byte, r *kgo.Record) []byte { return append(dst, r.Key...) }, true
	case 's':
		return func(dst []byte, r *kgo.Record) []byte { return append(dst, r.Value...) }, true
	case 'h':
		return appendHeaders, true
	case 'p':
		return number(func(r *kgo.Record) int64 { return int64(r.Partition) }), true
	case 'o':
		return number(func(r *kgo.Record) int64 { return r.Offset }), true
	case 'T':
		return number(func(r *kgo.Record) int64 { return r.Timestamp.UnixMilli() }), true
	case 'K':
		return number(func(r *kgo.Record) int64 { return length(r.Key) }), true
	case 'S':
		return number(func(r *kgo.Record) int64 { return length(r.Value) }), true
	}
	return nil, false
}

func appendHeaders(dst []byte, r *kgo.Record) []byte {
	for i, h := range r.Headers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, h.Key...), '=')
		if h.Value == nil {
			dst = append(dst, "NULL"...)
		}
		dst = append(dst, h.Value...)
	}
	return dst
}

// formatJSONL writes one line of JSON.
func formatJSONL(dst []byte, r *kgo.Record) []byte {
	j := jsonRecord{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli()}
	j.Key, j.KeyBase64 = jsonText(r.Key)
	j.Value, j.ValueBase64 = jsonText(r.Value)
	for _, h := range r.Headers {
		jh := jsonHeader{Key: strings.ToValidUTF8(h.Key, "\uFFFD")}
		jh.Value, jh.ValueBase64 = jsonText(h.Value)
		j.Headers = append(j.Headers, jh)
	}
	line, err := encodeLine(j)
	if err != nil {
		panic("encoding a struct of strings and numbers: " + err.Error())
	}
	return append(dst, line...)
}
