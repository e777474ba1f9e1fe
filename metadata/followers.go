package metadata

import (
	"fmt"

	"github.com/bargedata/barge/record"
)

// followerVersion is the first byte of an entry as followers get it. Entries in the log begin with lower ones, so that neither is
// taken for the other.
const followerVersion = 0x80

// EncodeForFollowers renders e, which has been encoded or decoded before, for those who apply it and have no use for the
// objects that lie in it: it says where these lie in the slot and how long they are, and leaves them out. Agents send it to one
// another, it is never stored. Source: docs/format/log-entry.md.
func EncodeForFollowers(e Entry) []byte {
	w := wireWriter{}
	w.byte(followerVersion)
	w.uvarint(uint64(shardOf(record.TopicID{}, 0)))
	w.uvarint(e.Seq)
	w.uvarint(e.Term)
	w.varint(e.Time)
	w.count(len(e.Commands))
	for _, c := range e.Commands {
		if o, ok := c.(CommitObject); ok && o.Inline != nil {
			o.placed, o.inlineLen, o.Inline = true, record.Len(len(o.Inline)), nil
			c = o
		}
		w.command(c)
	}
	return w.b
}

// DecodeForFollowers reads what EncodeForFollowers wrote. Applied, the entry gives the very state that the one in the log gives.
// It shares nothing with b. Errors: ErrNewer, ErrCorrupt.
func DecodeForFollowers(b []byte) (Entry, error) {
	r := wireReader{b: b}
	switch version := r.byte(); {
	case version > followerVersion:
		r.newer("an entry for followers has version", uint64(version), followerVersion)
	case version < followerVersion:
		r.fail(fmt.Sprintf("version %d of an entry for followers", version))
	}
	return r.entry(followerVersion)
}

func (r *wireReader) commitObjectPlaced(version byte) Command {
	if version != followerVersion {
		r.fail("a commit without its object in an entry of the log")
	}
	c := r.commitObject()
	c.placed, c.InlinePos, c.inlineLen = true, record.Pos(r.natural()), record.Len(r.natural())
	if c.InlinePos < 1 || c.inlineLen > MaxEntryBytes {
		r.fail("bad place of an object")
	}
	return c
}
