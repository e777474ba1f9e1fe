package tableflow

import (
	"encoding/binary"
	"fmt"

	"github.com/parquet-go/parquet-go/encoding/thrift"
)

// Thrift's compact protocol, as far as it is needed to walk over a message.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI16    = 4
	thriftI32    = 5
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftMap    = 11
	thriftStruct = 12
)

const (
	maxFooter  = 16 << 20 // bytes of footer and page index, each
	maxStructs = 1 << 19  // structs in one message: some 5,000 row groups
	maxDepth   = 16       // nesting; footers have 7
)

// CheckThrift walks over a compact-protocol struct and tells whether decoding it stays within bounds. The decoder
// trusts the lengths it meets: a list that claims 2^31 structs is allocated before its first byte is read, and running
// out of memory can not be recovered from. Errors: ErrCorrupt, ErrTooLarge.
func CheckThrift(message []byte) error {
	g := thriftGuard{buf: message}
	return g.structure(0)
}

// decodeThrift decodes a message that CheckThrift lets pass. Byte fields of v alias the message.
func decodeThrift(message []byte, v any) (err error) {
	defer recovered(&err)
	if err := CheckThrift(message); err != nil {
		return err
	}
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), message, v); err != nil {
		return fmt.Errorf("%w: %w", err, ErrCorrupt)
	}
	return nil
}

// recovered turns a panic of the Parquet library into an error. Bytes may be bad in ways that it does not check.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("decoding panicked: %v: %w", p, ErrCorrupt)
	}
}

type thriftGuard struct {
	buf     []byte
	structs int
}

func (g *thriftGuard) bad(what string) error {
	return fmt.Errorf("thrift %s with %d bytes left: %w", what, len(g.buf), ErrCorrupt)
}

func (g *thriftGuard) skip(n uint64) error {
	if n > uint64(len(g.buf)) {
		return g.bad("value cut off")
	}
	g.buf = g.buf[n:]
	return nil
}

func (g *thriftGuard) byte() (byte, error) {
	if len(g.buf) == 0 {
		return 0, g.bad("byte cut off")
	}
	b := g.buf[0]
	g.buf = g.buf[1:]
	return b, nil
}

func (g *thriftGuard) varint() (uint64, error) {
	v, n := binary.Uvarint(g.buf)
	if n <= 0 {
		return 0, g.bad("varint cut off")
	}
	g.buf = g.buf[n:]
	return v, nil
}

func (g *thriftGuard) structure(depth int) error {
	if g.structs++; g.structs > maxStructs {
		return fmt.Errorf("more than %d thrift structs: %w", maxStructs, ErrTooLarge)
	}
	if depth > maxDepth {
		return g.bad("nested too deep")
	}
	for {
		b, err := g.byte()
		if err != nil {
			return err
		}
		if b == 0 {
			return nil
		}
		if b>>4 == 0 { // the field id follows in full
			if _, err := g.varint(); err != nil {
				return err
			}
		}
		// A boolean field's value is its type.
		if kind := b & 0xF; kind != thriftTrue && kind != thriftFalse {
			if err := g.value(kind, depth); err != nil {
				return err
			}
		}
	}
}

func (g *thriftGuard) value(kind byte, depth int) error {
	switch kind {
	case thriftTrue, thriftFalse, thriftByte:
		return g.skip(1)
	case thriftI16, thriftI32, thriftI64:
		_, err := g.varint()
		return err
	case thriftDouble:
		return g.skip(8)
	case thriftBinary:
		n, err := g.varint()
		if err != nil {
			return err
		}
		return g.skip(n)
	case thriftList, thriftSet:
		b, err := g.byte()
		if err != nil {
			return err
		}
		n := uint64(b >> 4)
		if n == 15 {
			if n, err = g.varint(); err != nil {
				return err
			}
		}
		return g.elements(n, depth, b&0xF)
	case thriftMap:
		n, err := g.varint()
		if err != nil || n == 0 {
			return err
		}
		b, err := g.byte()
		if err != nil {
			return err
		}
		return g.elements(n, depth, b>>4, b&0xF)
	case thriftStruct:
		return g.structure(depth + 1)
	default:
		return g.bad(fmt.Sprintf("type %d", kind))
	}
}

// elements walks over n elements of a list, or n pairs of a map. Each takes at least one byte.
func (g *thriftGuard) elements(n uint64, depth int, kinds ...byte) error {
	if n > uint64(len(g.buf)) {
		return g.bad(fmt.Sprintf("list of %d", n))
	}
	if depth >= maxDepth {
		return g.bad("nested too deep")
	}
	for range n {
		for _, kind := range kinds {
			if err := g.value(kind, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}
