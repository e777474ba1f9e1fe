package objectstore

import (
	"fmt"
	"strings"
)

// reservedRoot is the first segment no key may have: the file driver keeps its temporaries there, and a key must mean
// the same on every driver.
const reservedRoot = ".tmp"

// ValidKey tells whether key may name an object on every driver: 1 to MaxKeyBytes bytes, segments between single
// slashes, none of them "." or "..", none empty, the first one not ".tmp", and only letters, digits and -_.~@=+,:!()
// in them. Percent signs, spaces and quotes are left out because servers and proxies disagree about decoding them.
// The error is ErrInvalidKey with the reason.
func ValidKey(key string) error {
	if key == "" {
		return fmt.Errorf("%w: empty", ErrInvalidKey)
	}
	if err := checkBytes(key); err != nil {
		return err
	}
	first := true
	for segment := range strings.SplitSeq(key, "/") {
		if err := checkSegment(segment, first); err != nil {
			return fmt.Errorf("%w: %q: %s", ErrInvalidKey, key, err.Error())
		}
		first = false
	}
	return nil
}

// ValidPrefix tells whether prefix may be the start of a key; it may end inside a segment or be empty.
func ValidPrefix(prefix string) error {
	if err := checkBytes(prefix); err != nil {
		return err
	}
	i := strings.LastIndexByte(prefix, '/')
	if i < 0 {
		return nil
	}
	return ValidKey(prefix[:i])
}

func checkBytes(key string) error {
	if len(key) > MaxKeyBytes {
		return fmt.Errorf("%w: %.40q...: %d bytes, at most %d", ErrInvalidKey, key, len(key), MaxKeyBytes)
	}
	for i := range len(key) {
		if !keyByte(key[i]) && key[i] != '/' {
			return fmt.Errorf("%w: %q: byte %#02x at %d", ErrInvalidKey, key, key[i], i)
		}
	}
	return nil
}

func keyByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	default:
		return strings.IndexByte("-_.~@=+,:!()", c) >= 0
	}
}

type segmentError string

func (e segmentError) Error() string { return string(e) }

func checkSegment(segment string, first bool) error {
	switch {
	case segment == "":
		return segmentError("empty segment")
	case segment == "." || segment == "..":
		return segmentError("segment " + segment)
	case first && segment == reservedRoot:
		return segmentError("first segment " + reservedRoot + " is reserved")
	default:
		return nil
	}
}

// CheckRange refuses a range no object can have; drivers call it first in GetRange.
func CheckRange(key string, pos, length int64) error {
	if pos < 0 || length < 0 || pos+length < pos {
		return fmt.Errorf("read %s: invalid range at %d of %d bytes", key, pos, length)
	}
	return nil
}

// CheckList refuses a listing no driver can answer; drivers call it first in List.
func CheckList(prefix string, limit int) error {
	if limit < 1 {
		return fmt.Errorf("list %q: limit %d, at least 1", prefix, limit)
	}
	return ValidPrefix(prefix)
}
