package ingest

import (
	"context"
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
)

// idBlock is how many producer ids one command leases. A restart loses the rest, of 2^63.
const idBlock = 1000

// initProducerID answers key 22, versions 0-5. Ids are for idempotence only: a transactional id is refused, which clients
// report as fatal at once. From v3 a producer that comes with its id and epoch gets the next epoch (KIP-360).
func (s *Server) initProducerID(ctx context.Context, req *kmsg.InitProducerIDRequest) *kmsg.InitProducerIDResponse {
	resp := kmsg.NewPtrInitProducerIDResponse()
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	c := codeNone
	switch {
	case req.TransactionalID != nil && *req.TransactionalID == "":
		c = codeInvalidRequest
	case req.TransactionalID != nil:
		c = codeTransactionalIDDenied
	case req.Version >= 3 && (req.ProducerID < -1 || req.ProducerEpoch < -1 || (req.ProducerID == -1) != (req.ProducerEpoch == -1)):
		c = codeInvalidRequest
	case req.Version >= 3 && req.ProducerID >= 0 && req.ProducerEpoch < math.MaxInt16-1:
		// The last epoch stays unused, as in Kafka, where it fences.
		resp.ProducerID, resp.ProducerEpoch = req.ProducerID, req.ProducerEpoch+1
	default:
		id, err := s.ids.next(ctx)
		if c = codeOf(err); c == codeNone {
			resp.ProducerID, resp.ProducerEpoch = id, 0
		}
	}
	resp.ErrorCode = s.refuse(keyInitProducerID, c)
	return resp
}

// idBlocks hands out producer ids from leased blocks. Safe for concurrent use.
type idBlocks struct {
	commands Commands
	turn     chan struct{} // one token; whoever holds it owns the fields below
	free     int64
	left     int64
}

func newIDBlocks(c Commands) *idBlocks {
	return &idBlocks{commands: c, turn: make(chan struct{}, 1)}
}

// next returns an id that nobody was given before.
func (b *idBlocks) next(ctx context.Context) (int64, error) {
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-b.turn }()
	if b.left == 0 {
		res, err := do[metadata.AllocateProducerIDsResult](ctx, b.commands, metadata.AllocateProducerIDs{Count: idBlock})
		if err == nil {
			err = res.Err
		}
		if err != nil {
			return 0, err // ids of a block whose lease is unknown are lost, never given twice
		}
		b.free, b.left = res.First, idBlock
	}
	id := b.free
	b.free++
	b.left--
	return id, nil
}
