package ingest

import (
	"encoding/binary"
	"net"
)

// produceRequest is a Produce request of versions 3-13 (KIP-98, flexible from 9, topic ids from 13 by KIP-516).
type produceRequest struct {
	transactionalID *string
	acks            int16
	timeoutMillis   int32
	topics          []produceTopic
}

type produceTopic struct {
	name       string   // until v12
	id         [16]byte // from v13
	partitions []producePartition
}

type producePartition struct {
	index   int32
	records []byte // aliases the frame; nil: null
}

// decodeProduce reads a request body. Unlike kmsg it allocates for elements that are there, not for those claimed.
func decodeProduce(body []byte, version int16, flexible bool) (produceRequest, error) {
	d := decoder{buf: body, flexible: flexible}
	req := produceRequest{
		transactionalID: d.nullableStr(),
		acks:            d.i16(),
		timeoutMillis:   d.i32(),
	}
	// The least a topic takes is an empty name and an empty array, a partition its index and a null.
	for range d.elementsOf(3) {
		var t produceTopic
		if version >= 13 {
			t.id = d.uuid()
		} else {
			t.name = d.str()
		}
		for range d.elementsOf(5) {
			p := producePartition{index: d.i32(), records: d.nullableBytes()}
			d.tags()
			if d.err != nil {
				return produceRequest{}, d.err
			}
			t.partitions = append(t.partitions, p)
		}
		d.tags()
		if d.err != nil {
			return produceRequest{}, d.err
		}
		req.topics = append(req.topics, t)
	}
	d.tags()
	return req, d.err
}

// elementsOf is arrayLen of an array that must not be null.
func (d *decoder) elementsOf(elemMin int) int {
	n := d.arrayLen(elemMin)
	if n < 0 {
		d.fail("an array is null")
		return 0
	}
	return n
}

// produceResult is the answer about one partition of a Produce request.
type produceResult struct {
	code           code
	message        string // sent from v8
	baseOffset     int64
	logAppendTime  int64
	logStartOffset int64         // sent from v5
	records        []recordError // sent from v8
	to             *destination  // the new leader, sent from v10 with NOT_LEADER_OR_FOLLOWER
}

// recordError says what is wrong with one record of a refused batch (KIP-467).
type recordError struct {
	index   int32 // in the batch
	message string
}

// encodeProduce frames the response. results holds one value for each partition of topics, in order.
func encodeProduce(r request, topics []produceTopic, results []produceResult) net.Buffers {
	e := encoder{buf: responseHead(make([]byte, 0, 64+64*len(results)), r), flexible: r.flexible()}
	var told []*destination
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
			e.i16(int16(res.code))
			e.i64(res.baseOffset)
			e.i64(res.logAppendTime)
			if r.version >= 5 {
				e.i64(res.logStartOffset)
			}
			if r.version >= 8 {
				e.arrayLen(len(res.records))
				for _, r := range res.records {
					e.i32(r.index)
					e.nullableStr(r.message)
					e.tags()
				}
				e.nullableStr(res.message)
			}
			if r.version >= 10 {
				told = addDestination(told, res.to)
				e.tagLeader(0, res.to)
			} else {
				e.tags()
			}
		}
		results = results[len(t.partitions):]
		e.tags()
	}
	e.i32(0) // throttle
	e.tagEndpoints(told)
	binary.BigEndian.PutUint32(e.buf, uint32(len(e.buf)-4))
	return net.Buffers{e.buf}
}
