package ingest

import (
	"encoding/binary"
	"net"
)

// fetchRequest is a Fetch request of versions 4-17 (sessions from 7 by KIP-227, flexible from 12, topic ids from 13).
// Fields that only replicas send are read over.
type fetchRequest struct {
	maxWaitMillis int32
	minBytes      int32
	maxBytes      int32
	readCommitted bool
	sessionID     int32
	sessionEpoch  int32
	rack          string // the consumer's zone, from v11
	topics        []fetchTopic
}

// memory is about how many bytes the request takes while it waits, with all that is made for its partitions.
func (r fetchRequest) memory() int64 {
	const request, topic, partition = 1 << 10, 256, 512
	n := int64(request)
	for _, t := range r.topics {
		n += topic + int64(len(t.name)) + int64(len(t.partitions))*partition
	}
	return n
}

type fetchTopic struct {
	name       string   // until v12
	id         [16]byte // from v13
	partitions []fetchPartition
}

type fetchPartition struct {
	index       int32
	leaderEpoch int32 // the client's belief, -1 if it has none; from v9
	offset      int64
	maxBytes    int32
}

// decodeFetch reads a request body. kmsg's decoder is not used because it reads the tagged replica state of v15 with an
// unbounded inner tag section.
func decodeFetch(body []byte, version int16, flexible bool) (fetchRequest, error) {
	d := decoder{buf: body, flexible: flexible}
	if version <= 14 {
		d.i32() // replica id
	}
	req := fetchRequest{
		maxWaitMillis: d.i32(),
		minBytes:      d.i32(),
		maxBytes:      d.i32(),
		readCommitted: d.i8() == 1,
	}
	if version >= 7 {
		req.sessionID, req.sessionEpoch = d.i32(), d.i32()
	}
	for range d.elementsOf(3) {
		t := fetchTopic{}
		t.name, t.id = d.topic(version)
		for range d.elementsOf(16) {
			p := d.fetchPartition(version)
			if d.err != nil {
				return fetchRequest{}, d.err
			}
			t.partitions = append(t.partitions, p)
		}
		d.tags()
		if d.err != nil {
			return fetchRequest{}, d.err
		}
		req.topics = append(req.topics, t)
	}
	if version >= 7 {
		d.forgottenTopics(version)
	}
	if version >= 11 {
		req.rack = d.str()
	}
	d.tags() // cluster id, replica state
	return req, d.err
}

// topic reads what names a topic in Fetch.
func (d *decoder) topic(version int16) (name string, id [16]byte) {
	if version >= 13 {
		return "", d.uuid()
	}
	return d.str(), id
}

func (d *decoder) fetchPartition(version int16) fetchPartition {
	p := fetchPartition{index: d.i32(), leaderEpoch: -1}
	if version >= 9 {
		p.leaderEpoch = d.i32()
	}
	p.offset = d.i64()
	if version >= 12 {
		d.i32() // last fetched epoch: there is but one
	}
	if version >= 5 {
		d.i64() // log start offset of a replica
	}
	p.maxBytes = d.i32()
	d.tags() // replica directory, high watermark
	return p
}

// forgottenTopics reads over what a session should forget: there are no sessions.
func (d *decoder) forgottenTopics(version int16) {
	for range d.elementsOf(3) {
		d.topic(version)
		for range d.elementsOf(4) {
			d.i32()
		}
		d.tags()
		if d.err != nil {
			return
		}
	}
}

// fetchResult is the answer about one partition of a Fetch request. Chunks are aliased, not copied.
type fetchResult struct {
	code          code
	highWatermark int64
	lastStable    int64
	logStart      int64 // sent from v5
	chunks        [][]byte
	size          int // of chunks, bytes
	// to is where the client is sent: with NOT_LEADER_OR_FOLLOWER the new leader, told from v16, else the replica to read
	// from, told from v11. Nil: nowhere.
	to *destination
}

// encodeFetch frames the response: buffers of our own around the chunks of results, which holds one value for each
// partition of topics, in order. Session id 0 declines a session (KIP-227).
func encodeFetch(r request, top code, topics []fetchTopic, results []fetchResult, readCommitted bool) net.Buffers {
	e := encoder{buf: responseHead(make([]byte, 0, 64+64*len(results)), r), flexible: r.flexible()}
	var out net.Buffers
	total, cut := 0, 0
	var told []*destination
	// seal puts what was encoded since the last cut in front of the next chunk. Growing e.buf later leaves it intact.
	seal := func() {
		if len(e.buf) > cut {
			out = append(out, e.buf[cut:len(e.buf):len(e.buf)])
			cut = len(e.buf)
		}
	}
	e.i32(0) // throttle
	if r.version >= 7 {
		e.i16(int16(top))
		e.i32(0) // session id
	}
	e.arrayLen(len(topics))
	for _, t := range topics {
		if r.version >= 13 {
			e.uuid(t.id)
		} else {
			e.str(t.name)
		}
		e.arrayLen(len(t.partitions))
		for i, p := range t.partitions {
			res := results[i]
			e.i32(p.index)
			e.fetchResult(r.version, res, readCommitted)
			if res.size > 0 {
				seal()
				for _, chunk := range res.chunks {
					out = append(out, chunk)
				}
				total += res.size
			}
			if res.code == codeNotLeaderOrFollower && r.version >= 16 {
				told = addDestination(told, res.to)
				e.tagLeader(1, res.to)
			} else {
				e.tags()
			}
		}
		results = results[len(t.partitions):]
		e.tags()
	}
	e.tagEndpoints(told)
	seal()
	// The first buffer is the front of e.buf's first array, whatever it grew into later.
	binary.BigEndian.PutUint32(out[0], uint32(len(e.buf)+total-4))
	return out
}

// fetchResult writes one partition up to and including the length of its records.
func (e *encoder) fetchResult(version int16, res fetchResult, readCommitted bool) {
	e.i16(int16(res.code))
	e.i64(res.highWatermark)
	e.i64(res.lastStable)
	if version >= 5 {
		e.i64(res.logStart)
	}
	if readCommitted {
		e.arrayLen(0) // aborted transactions
	} else {
		e.arrayLen(-1)
	}
	if version >= 11 {
		preferred := int32(-1)
		if res.code == codeNone && res.to != nil {
			preferred = res.to.node
		}
		e.i32(preferred)
	}
	e.bytesLen(res.size)
}
