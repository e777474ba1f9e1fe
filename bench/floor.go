package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bargedata/barge/record"
)

const (
	floorObjectBytes = 8 << 20
	floorObjects     = 16 // buffers, and so the bound of what is on its way
	floorUploads     = 8
	floorFlush       = 250 * time.Millisecond
	floorMaxFrame    = 4 << 20
)

// floor is the least that a server of this kind does with a Produce request: read its frame into memory that is used
// again, parse it, check the CRC-32C of its batch, copy the batch once into an object of 8 MiB, PUT the object, answer
// with an offset. Its HTTP is written by hand. It has no topics, looks at no record, keeps no order beyond that of
// objects, writes no metadata, authorizes, counts and bounds nothing, and believes every length that fits a frame.
type floor struct {
	put  func(ctx context.Context, key string, body []byte) error
	free chan *floorObject

	mu   sync.Mutex // guards open and what follows
	open *floorObject
	next int // number of the next object

	full   chan *floorObject // laid out, to be uploaded
	sealed chan *floorObject // in order, to be answered
}

// floorObject is one object. refs counts those who copy into it, and one for being open.
type floorObject struct {
	number int
	body   []byte
	opened time.Time
	asks   []floorAsk
	refs   atomic.Int32
	stored chan struct{}
	err    error // set before stored is closed
}

// floorAsk is a request that waits for its object.
type floorAsk struct {
	conn        *floorConn
	correlation int32
	topic       string
	partition   int32
	records     int32
}

type floorConn struct {
	nc  net.Conn
	out []byte // replies of one object; only the answering goroutine uses it
}

// serveFloor accepts connections until ctx ends, and puts objects into the bucket at storeURL
// (http://host:port/bucket/prefix). What is on its way then is not answered.
func serveFloor(ctx context.Context, ln net.Listener, storeURL string) error {
	u, err := url.Parse(storeURL)
	if err != nil {
		return fmt.Errorf("store %q: %w", storeURL, err)
	}
	f := &floor{
		put:  newPutter(u.Host, u.Path).put,
		free: make(chan *floorObject, floorObjects), full: make(chan *floorObject, floorObjects), sealed: make(chan *floorObject, floorObjects),
	}
	for range floorObjects {
		f.free <- &floorObject{body: make([]byte, 0, floorObjectBytes)}
	}
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	for range floorUploads {
		g.Go(func() error { return f.upload(ctx) })
	}
	g.Go(func() error { return f.answer(ctx) })
	g.Go(func() error { return f.tick(ctx) })
	g.Go(func() error {
		for {
			nc, err := ln.Accept()
			switch {
			case ctx.Err() != nil:
				if err == nil {
					_ = nc.Close()
				}
				return nil
			case err != nil:
				return err
			}
			go f.serve(ctx, &floorConn{nc: nc})
		}
	})
	return g.Wait()
}

// serve reads one connection. Whatever goes wrong on it ends it.
func (f *floor) serve(ctx context.Context, c *floorConn) {
	stop := context.AfterFunc(ctx, func() { _ = c.nc.Close() })
	defer stop()
	defer func() { _ = c.nc.Close() }()
	br := bufio.NewReaderSize(c.nc, 128<<10)
	var frame []byte
	var size [4]byte
	for {
		if _, err := io.ReadFull(br, size[:]); err != nil {
			return
		}
		n := binary.BigEndian.Uint32(size[:])
		if n > floorMaxFrame {
			return
		}
		if int(n) > cap(frame) {
			frame = make([]byte, n)
		}
		frame = frame[:n]
		if _, err := io.ReadFull(br, frame); err != nil {
			return
		}
		if err := f.produce(ctx, c, frame); err != nil {
			return
		}
	}
}

var errFloorFrame = errors.New("not a Produce request of one batch in version 9 to 12")

// produce parses one request and copies its batch into the open object.
func (f *floor) produce(ctx context.Context, c *floorConn, frame []byte) error {
	p := parser{b: frame}
	key, version := p.u16(), p.u16()
	ask := floorAsk{conn: c, correlation: int32(p.u32())}
	p.take(int(p.u16())) // client id
	p.tags()
	p.take(int(p.uvarint()) - 1) // transactional id
	p.u16()                      // acks
	p.u32()                      // timeout
	topics := p.uvarint() - 1
	name := p.take(int(p.uvarint()) - 1)
	partitions := p.uvarint() - 1
	ask.partition = int32(p.u32())
	records := p.take(int(p.uvarint()) - 1)
	p.tags()
	p.tags()
	p.tags()
	if p.failed || key != 0 || version < 9 || version > 12 || topics != 1 || partitions != 1 {
		return errFloorFrame
	}
	b, err := record.Parse(records)
	if err != nil {
		return err
	}
	ask.topic, ask.records = string(name), b.OffsetCount()
	o, place, err := f.reserve(ctx, ask, len(records))
	if err != nil {
		return err
	}
	copy(place, records)
	f.unref(o)
	return nil
}

// reserve takes n bytes of the open object. It waits when none is free.
func (f *floor) reserve(ctx context.Context, ask floorAsk, n int) (o *floorObject, place []byte, err error) {
	if n > floorObjectBytes {
		return nil, nil, errFloorFrame
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open != nil && len(f.open.body)+n > floorObjectBytes {
		f.seal()
	}
	if f.open == nil {
		select {
		case f.open = <-f.free:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		f.open.number, f.open.opened, f.open.stored, f.open.err = f.next, time.Now(), make(chan struct{}), nil
		f.open.refs.Store(1)
		f.next++
	}
	o = f.open
	at := len(o.body)
	o.body = o.body[:at+n]
	o.asks = append(o.asks, ask)
	o.refs.Add(1)
	return o, o.body[at:], nil
}

// seal closes the open object; mu is held.
func (f *floor) seal() {
	o := f.open
	f.open = nil
	f.sealed <- o // has room for every object there is
	f.unref(o)
}

func (f *floor) unref(o *floorObject) {
	if o.refs.Add(-1) == 0 {
		f.full <- o // likewise
	}
}

// tick seals what has waited for long.
func (f *floor) tick(ctx context.Context) error {
	ticker := time.NewTicker(floorFlush / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		f.mu.Lock()
		if f.open != nil && time.Since(f.open.opened) >= floorFlush {
			f.seal()
		}
		f.mu.Unlock()
	}
}

func (f *floor) upload(ctx context.Context) error {
	for {
		select {
		case o := <-f.full:
			o.err = f.put(ctx, fmt.Sprintf("wal/floor/%016x", o.number), o.body)
			close(o.stored)
		case <-ctx.Done():
			return nil
		}
	}
}

// answer replies to the requests of object after object.
func (f *floor) answer(ctx context.Context) error {
	ends := make(map[int32]int64) // by partition; the floor has one topic
	var touched []*floorConn
	for {
		var o *floorObject
		select {
		case o = <-f.sealed:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-o.stored:
		case <-ctx.Done():
			return nil
		}
		if o.err != nil {
			return fmt.Errorf("upload: %w", o.err)
		}
		touched = touched[:0]
		for i := range o.asks {
			a := &o.asks[i]
			if len(a.conn.out) == 0 {
				touched = append(touched, a.conn)
			}
			a.conn.out = a.appendReply(a.conn.out, ends[a.partition])
			ends[a.partition] += int64(a.records)
		}
		for _, c := range touched {
			_ = c.nc.SetWriteDeadline(time.Now().Add(patience))
			if _, err := c.nc.Write(c.out); err != nil {
				_ = c.nc.Close()
			}
			c.out = c.out[:0]
		}
		clear(o.asks)
		o.asks, o.body = o.asks[:0], o.body[:0]
		f.free <- o
	}
}

// appendReply frames the answer, with the base offset the batch got.
func (a *floorAsk) appendReply(dst []byte, base int64) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(a.correlation))
	dst = append(dst, 0, 2) // tags, one topic
	dst = binary.AppendUvarint(dst, uint64(len(a.topic))+1)
	dst = append(dst, a.topic...)
	dst = append(dst, 2) // one partition
	dst = binary.BigEndian.AppendUint32(dst, uint32(a.partition))
	dst = append(dst, 0, 0) // no error
	dst = binary.BigEndian.AppendUint64(dst, uint64(base))
	dst = binary.BigEndian.AppendUint64(dst, ^uint64(0)) // no append time
	dst = binary.BigEndian.AppendUint64(dst, 0)          // log start
	dst = append(dst, 1, 0, 0, 0)                        // no record errors, no message, tags of partition and topic
	dst = binary.BigEndian.AppendUint32(dst, 0)          // throttle
	dst = append(dst, 0)                                 // tags
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

// parser reads fields off the front of a frame. After a fault everything is zero.
type parser struct {
	b      []byte
	failed bool
}

func (p *parser) take(n int) []byte {
	if n <= 0 {
		return nil // null, or empty
	}
	if n > len(p.b) {
		p.failed, p.b = true, nil
		return nil
	}
	b := p.b[:n]
	p.b = p.b[n:]
	return b
}

func (p *parser) u16() uint16 {
	if b := p.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (p *parser) u32() uint32 {
	if b := p.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (p *parser) uvarint() uint32 {
	v, n := binary.Uvarint(p.b)
	if n <= 0 || n > 5 {
		p.failed, p.b = true, nil
		return 0
	}
	p.b = p.b[n:]
	return uint32(v)
}

func (p *parser) tags() {
	if p.uvarint() != 0 {
		p.failed = true // the load sends none
	}
}

// putter PUTs objects over a few connections that it keeps.
type putter struct {
	host, prefix string
	idle         chan *putConn
}

type putConn struct {
	nc net.Conn
	br *bufio.Reader
}

func newPutter(host, prefix string) *putter {
	return &putter{host: host, prefix: strings.TrimSuffix(prefix, "/"), idle: make(chan *putConn, floorUploads)}
}

func (p *putter) put(ctx context.Context, key string, body []byte) error {
	c, err := p.connection(ctx)
	if err != nil {
		return err
	}
	_ = c.nc.SetDeadline(time.Now().Add(patience)) // fails only on a closed connection, which the write tells
	head := fmt.Sprintf("PUT %s/%s HTTP/1.1\r\nHost: %s\r\nX-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\nContent-Length: %d\r\n\r\n", p.prefix, key, p.host, len(body))
	out := net.Buffers{[]byte(head), body}
	if _, err := out.WriteTo(c.nc); err != nil {
		_ = c.nc.Close()
		return err
	}
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		_ = c.nc.Close()
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close() // was only read
	if err != nil || resp.StatusCode != http.StatusOK {
		_ = c.nc.Close()
		return fmt.Errorf("PUT %s: status %d, %w", key, resp.StatusCode, err)
	}
	select {
	case p.idle <- c:
	default:
		_ = c.nc.Close()
	}
	return nil
}

func (p *putter) connection(ctx context.Context) (*putConn, error) {
	select {
	case c := <-p.idle:
		return c, nil
	default:
	}
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "tcp", p.host)
	if err != nil {
		return nil, err
	}
	return &putConn{nc, bufio.NewReader(nc)}, nil
}
