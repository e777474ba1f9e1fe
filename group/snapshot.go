package group

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/bargedata/barge/metadata"
)

// errCorrupt marks a durable value that this version can not read.
var errCorrupt = errors.New("corrupt group value")

// Durable values begin with a version byte. Integers are varints (binary.AppendUvarint, zigzag where they may be
// negative), strings and bytes carry their length first.
//
//	group   1: generation, protocol type, protocol, leader, empty since (ms), count of members, then of each: id,
//	           instance, client id, host, session (ms), rebalance (ms), metadata of the chosen protocol, assignment
//	offset  1: offset, leader epoch, committed at (ms), metadata
//	claim   1: owner, nonce
//	claim   2: owner, session, nonce
const (
	groupVersion    = 1
	offsetVersion   = 1
	claimVersion    = 2
	oldClaimVersion = 1
)

// Snapshot returns the revision reached and the durable form of the group. Of the members' protocols only the chosen
// one is kept, as Kafka does. A group that would not fit Config.MaxSavedBytes is written without members.
func (s *State) Snapshot() (uint64, []byte) {
	b := s.appendHeader(nil)
	if s.phase != Stable && s.assignedRev == 0 {
		// Between two generations: members restored without assignments would wait for nothing, so they rejoin.
		return s.revision, binary.AppendUvarint(b, 0)
	}
	head := len(b)
	b = binary.AppendUvarint(b, uint64(len(s.members)))
	for _, m := range s.sorted() {
		b = appendString(b, m.id)
		b = appendString(b, m.instance)
		b = appendString(b, m.clientID)
		b = appendString(b, m.host)
		b = binary.AppendUvarint(b, uint64(m.session.Milliseconds()))
		b = binary.AppendUvarint(b, uint64(m.rebalance.Milliseconds()))
		b = appendString(b, m.metadata(s.protocol))
		b = appendString(b, m.assignment)
		if len(b) > s.cfg.MaxSavedBytes {
			return s.revision, binary.AppendUvarint(b[:head], 0)
		}
	}
	return s.revision, b
}

func (s *State) appendHeader(b []byte) []byte {
	b = append(b, groupVersion)
	b = binary.AppendVarint(b, int64(s.generation))
	b = appendString(b, s.protocolType)
	b = appendString(b, s.protocol)
	b = appendString(b, s.leader)
	return binary.AppendVarint(b, s.emptySince.UnixMilli())
}

// RestoreState reads what Snapshot wrote. Members are stable in their generation and have a whole session, from now on,
// to show themselves.
func RestoreState(name string, value []byte, cfg Config, now time.Time) (*State, error) {
	s := NewState(name, cfg, now)
	d := decoder{b: value}
	d.version(groupVersion)
	s.generation = int32(d.varint())
	s.protocolType, s.protocol, s.leader = d.str(), d.str(), d.str()
	s.emptySince = time.UnixMilli(d.varint())
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		m := &member{
			id: d.str(), instance: d.str(), clientID: d.str(), host: d.str(),
			session: time.Duration(d.uvarint()) * time.Millisecond, rebalance: time.Duration(d.uvarint()) * time.Millisecond,
		}
		protocols := []Protocol{{Name: s.protocol, Metadata: d.bytes()}}
		m.assignment, m.synced = d.bytes(), true
		s.order++
		m.order = s.order
		s.members[m.id] = m
		s.setProtocols(m, protocols)
		if m.instance != "" {
			s.static[m.instance] = m.id
		}
		s.touch(m, now)
	}
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("group %q: %w", name, err)
	}
	if len(s.members) > 0 {
		s.phase = Stable
	} else {
		s.protocol, s.leader = "", ""
	}
	return s, nil
}

// committed is one durable offset.
type committed struct {
	offset      int64
	leaderEpoch int32
	at          int64 // milliseconds since the Unix epoch
	metadata    string
}

func (o committed) encode() []byte {
	b := binary.AppendVarint([]byte{offsetVersion}, o.offset)
	b = binary.AppendVarint(b, int64(o.leaderEpoch))
	b = binary.AppendVarint(b, o.at)
	return appendString(b, o.metadata)
}

func decodeCommitted(value []byte) (committed, error) {
	d := decoder{b: value}
	d.version(offsetVersion)
	o := committed{offset: d.varint(), leaderEpoch: int32(d.varint()), at: d.varint(), metadata: d.str()}
	return o, d.end()
}

// claim says who coordinates a shard.
type claim struct {
	owner   string             // the agent's advertised Kafka address
	session metadata.SessionID // the agent's; 0 in version 1, which did not tell
	nonce   uint64             // random, differs between two processes of one address
}

func (cl claim) encode() []byte {
	b := appendString([]byte{claimVersion}, cl.owner)
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(cl.session)), cl.nonce)
}

func decodeClaim(value []byte) (cl claim, err error) {
	d := decoder{b: value}
	old := len(value) > 0 && value[0] == oldClaimVersion
	if old {
		d.version(oldClaimVersion)
	} else {
		d.version(claimVersion)
	}
	cl.owner = d.str()
	if !old {
		cl.session = metadata.SessionID(d.uvarint())
	}
	cl.nonce = d.uvarint()
	return cl, d.end()
}

func appendString[T ~string | ~[]byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decoder reads a durable value; after the first error it returns zeros.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", errCorrupt, what)
	}
	d.b = nil
}

func (d *decoder) version(want byte) {
	if len(d.b) == 0 || d.b[0] != want {
		d.fail("version")
		return
	}
	d.b = d.b[1:]
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail("integer")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("integer")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// bytes returns the next byte string; it aliases the value, which nobody changes.
func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail("length")
		return nil
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) str() string { return string(d.bytes()) }

func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail("trailing bytes")
	}
	return d.err
}
