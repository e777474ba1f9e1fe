package metadata

import (
	"strconv"
	"strings"
)

const inlinePrefix = "inline/"

// InlineKey names an object that lies in a log entry: length bytes from pos on of the body of slot. It stands where the key of
// an object in the store would; WithInline makes a store that answers it.
func InlineKey(slot uint64, pos, length int64) string {
	b := make([]byte, 0, len(inlinePrefix)+32)
	b = append(b, inlinePrefix...)
	b = strconv.AppendUint(b, slot, 10)
	b = append(b, '/')
	b = strconv.AppendInt(b, pos, 10)
	b = append(b, '/')
	return string(strconv.AppendInt(b, length, 10))
}

// ParseInlineKey reads what InlineKey wrote; ok is false for every other key.
func ParseInlineKey(key string) (slot uint64, pos, length int64, ok bool) {
	rest, ok := strings.CutPrefix(key, inlinePrefix)
	if !ok {
		return 0, 0, 0, false
	}
	a, rest, _ := strings.Cut(rest, "/")
	b, c, _ := strings.Cut(rest, "/")
	slot, errA := strconv.ParseUint(a, 10, 64)
	pos, errB := strconv.ParseInt(b, 10, 64)
	length, errC := strconv.ParseInt(c, 10, 64)
	if errA != nil || errB != nil || errC != nil || pos < 0 || length < 0 || InlineKey(slot, pos, length) != key {
		return 0, 0, 0, false
	}
	return slot, pos, length, true
}

// EachInline yields the objects that lie in e, by the keys they have when their commits are accepted. e has been encoded or
// decoded. The bytes are those of its commands.
func (e Entry) EachInline(yield func(key string, body []byte)) {
	for _, c := range e.Commands {
		if c, ok := c.(CommitObject); ok && c.Inline != nil {
			yield(InlineKey(e.Seq, int64(c.InlinePos), int64(len(c.Inline))), c.Inline)
		}
	}
}

// EachPlaced is EachInline for an entry of DecodeForFollowers: it tells whose commit an object is instead of the bytes, which are
// not there.
func (e Entry) EachPlaced(yield func(session SessionID, counter uint64, key string)) {
	for _, c := range e.Commands {
		if c, ok := c.(CommitObject); ok && c.placed {
			yield(c.Session, c.Counter, InlineKey(e.Seq, int64(c.InlinePos), int64(c.inlineLen)))
		}
	}
}

// inlineBytes is what an entry with this command holds of objects.
func inlineBytes(c Command) int {
	if c, ok := c.(CommitObject); ok {
		return len(c.Inline)
	}
	return 0
}

// OldestInline returns the lowest slot that holds an object which runs refer to, false when there is none. Slots from there on
// must stay.
func (v *View) OldestInline() (slot uint64, ok bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if ids := v.state.inline.ids; len(ids) > 0 {
		return v.state.objects[ids[0]].slot, true
	}
	return 0, false
}
