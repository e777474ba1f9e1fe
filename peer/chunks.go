package peer

import (
	"fmt"

	"github.com/bargedata/barge/peer/peerpb"
)

// sendChunks cuts an object into messages. The first tells key and size, also of an empty object. body is only read.
func sendChunks(key string, body []byte, send func(*peerpb.ObjectChunk) error) error {
	for first := true; first || len(body) > 0; first = false {
		n := min(chunkBytes, len(body))
		chunk := &peerpb.ObjectChunk{Data: body[:n]}
		if first {
			chunk.Key, chunk.Size = key, int64(len(body))
		}
		if err := send(chunk); err != nil {
			return err
		}
		body = body[n:]
	}
	return nil
}

// collected puts an object together again. Its memory grows with what arrived, whatever size was announced.
type collected struct {
	key   string
	size  int64
	body  []byte
	begun bool
}

// add takes one message. An error means that the other side does not keep to the protocol.
func (c *collected) add(chunk *peerpb.ObjectChunk) error {
	if !c.begun {
		c.begun = true
		c.key, c.size = chunk.GetKey(), chunk.GetSize()
		if c.size < 0 || c.size > MaxObjectBytes {
			return fmt.Errorf("%w: an object of %d bytes, want at most %d", ErrTooLarge, c.size, MaxObjectBytes)
		}
		c.body = make([]byte, 0, min(c.size, int64(2*chunkBytes)))
	}
	if int64(len(c.body)+len(chunk.GetData())) > c.size {
		return fmt.Errorf("an object of %d bytes came with more", c.size)
	}
	if need := len(c.body) + len(chunk.GetData()); need > cap(c.body) {
		// The sender means it: take the rest in one piece, not by doubling.
		grown := make([]byte, len(c.body), c.size)
		copy(grown, c.body)
		c.body = grown
	}
	c.body = append(c.body, chunk.GetData()...)
	return nil
}

// done returns the object, or tells that some of it is lacking.
func (c *collected) done() (key string, body []byte, err error) {
	if !c.begun || int64(len(c.body)) != c.size {
		return "", nil, fmt.Errorf("an object of %d bytes ended after %d", c.size, len(c.body))
	}
	return c.key, c.body, nil
}
