package barge

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/bargedata/barge/fetch"
	"github.com/bargedata/barge/metadata/replica"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/peer"
	"github.com/bargedata/barge/peer/peerpb"
	"github.com/bargedata/barge/routing"
)

// errStarting answers other agents while this one is not far enough.
var errStarting = errors.New("the agent is starting")

// answers hands the calls of other agents to the parts that answer them, which come while the peer server runs already.
type answers struct {
	node   atomic.Pointer[replica.Node]
	reader atomic.Pointer[fetch.Reader]
}

// HandleFollow implements peer.Log.
func (a *answers) HandleFollow(ctx context.Context, req *peerpb.FollowRequest) (*peerpb.FollowResponse, error) {
	if node := a.node.Load(); node != nil {
		return node.HandleFollow(ctx, req)
	}
	return nil, errStarting
}

// HandleConfirm implements peer.Log.
func (a *answers) HandleConfirm(ctx context.Context) (*peerpb.ConfirmResponse, error) {
	if node := a.node.Load(); node != nil {
		return node.HandleConfirm(ctx)
	}
	return &peerpb.ConfirmResponse{Code: peerpb.Code_CODE_NOT_SEQUENCER, Message: errStarting.Error()}, nil
}

// HandleSubmit implements peer.Log.
func (a *answers) HandleSubmit(ctx context.Context, commands peer.Commands) error {
	if node := a.node.Load(); node != nil {
		return node.HandleSubmit(ctx, commands)
	}
	return errStarting
}

// HandleRead implements peer.Objects.
func (a *answers) HandleRead(ctx context.Context, req *peerpb.ReadObjectRequest) ([]byte, error) {
	reader := a.reader.Load()
	if reader == nil {
		return nil, peer.ErrBusy
	}
	body, err := reader.HandleRead(ctx, req)
	switch {
	case errors.Is(err, objectstore.ErrNotFound):
		err = fmt.Errorf("%w: %w", peer.ErrNotFound, err)
	case errors.Is(err, fetch.ErrBusy):
		err = fmt.Errorf("%w: %w", peer.ErrBusy, err)
	}
	return body, err
}

// HandleSeed implements peer.Objects.
func (a *answers) HandleSeed(ctx context.Context, key string, body []byte) error {
	if reader := a.reader.Load(); reader != nil {
		return reader.HandleSeed(ctx, key, body)
	}
	return peer.ErrBusy
}

// transport is peer.Client as a node knows it.
type transport struct{ *peer.Client }

// Submit implements replica.Transport.
func (t transport) Submit(ctx context.Context, addr string) (replica.SubmitStream, error) {
	stream, err := t.Client.Submit(ctx, addr)
	if err != nil {
		return nil, err
	}
	return stream, nil
}

// zone tells which agent of this one's zone keeps an object for all of them, and reaches it.
type zone struct {
	*peer.Client
	name    string
	members func() routing.Members
	session *atomic.Uint64 // this agent's
	last    atomic.Pointer[zoneMembers]
}

// zoneMembers is the answer for one list of members; a list never changes.
type zoneMembers struct{ of, keepers routing.Members }

// Owner implements fetch.Zone. Alone in its zone, or where nobody fetches, an agent keeps what it reads.
func (z *zone) Owner(key string) (addr string, self bool) {
	owner, ok := routing.Pick(key, z.keepers())
	return owner.Peer, !ok || owner.Peer == "" || owner.Session == z.session.Load()
}

// ReadObject implements fetch.Zone.
func (z *zone) ReadObject(ctx context.Context, addr string, req *peerpb.ReadObjectRequest) ([]byte, error) {
	body, err := z.Client.ReadObject(ctx, addr, req)
	if errors.Is(err, peer.ErrNotFound) {
		err = fmt.Errorf("%w: %w", objectstore.ErrNotFound, err)
	}
	return body, err
}

func (z *zone) keepers() routing.Members {
	members := z.members()
	if last := z.last.Load(); last != nil && len(members) > 0 && len(last.of) == len(members) && &last.of[0] == &members[0] {
		return last.keepers
	}
	keepers := members.Keepers(z.name)
	z.last.Store(&zoneMembers{members, keepers})
	return keepers
}
