package ingest

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// maxHandling bounds a request that does not wait for others on purpose. Nothing on the connection goes on meanwhile.
	maxHandling = time.Minute
	// maxMemberHandling bounds the requests of group members that do not wait on purpose. While one waits for a store
	// that takes nothing, the heartbeats behind it are not read, and members may have sessions of 6 s and up. The answer
	// is then COORDINATOR_NOT_AVAILABLE, outcome unknown: clients commit again.
	maxMemberHandling = 10 * time.Second
)

func handlingTime(key int16) time.Duration {
	switch key {
	case keyOffsetCommit, keyOffsetFetch, keyHeartbeat, keyLeaveGroup, keyConsumerHeartbeat:
		return maxMemberHandling
	default:
		return maxHandling
	}
}

// handle carries req out and fills in r. It runs on the connection's reader, or on a goroutine of its own for the
// requests that wait for others (conn.start).
func (s *Server) handle(c *conn, req *request, r *reply) {
	switch req.api.key {
	case keyProduce:
		s.produce(c, *req, r)
		return
	case keyFetch:
		s.fetch(c, req, r)
		return
	case keyAPIVersions:
		if req.version > req.api.max {
			c.answer(r, encode(*req, s.unsupportedVersion()))
			return
		}
	}
	msg, err := s.decode(*req)
	if err != nil {
		r.fault = &fault{refusedFrame, fmt.Errorf("API key %d version %d: %w", req.api.key, req.version, err)}
		return
	}
	var resp kmsg.Response
	if req.api.key == keyJoinGroup || req.api.key == keySyncGroup {
		kept := detach(msg)
		req.body = nil // may be much larger than what is kept
		if c.park(r, kept) {
			resp = s.dispatch(c.polls, c, req, msg)
		} else {
			resp = s.noRoomToWait(msg)
		}
	} else {
		ctx, cancel := context.WithTimeout(c.work, handlingTime(req.api.key))
		defer cancel()
		resp = s.dispatch(ctx, c, req, msg)
	}
	if resp == nil {
		r.fault = &fault{refusedPanic, fmt.Errorf("no handler for API key %d", req.api.key)}
		return
	}
	resp.SetVersion(req.version)
	c.answer(r, encode(*req, resp))
}

// decode checks the body by the layout of its key and only then lets kmsg build it. Byte fields alias the frame.
func (s *Server) decode(req request) (kmsg.Request, error) {
	layout, ok := s.layouts[req.api.key]
	if !ok {
		return nil, fmt.Errorf("%w: no layout for this API key", errMalformed)
	}
	if err := checkBody(layout, req.version, req.flexible(), req.body); err != nil {
		return nil, err
	}
	msg := kmsg.RequestForKey(req.api.key)
	msg.SetVersion(req.version)
	if err := msg.ReadFrom(req.body); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return msg, nil
}

func (s *Server) dispatch(ctx context.Context, c *conn, req *request, msg kmsg.Request) kmsg.Response {
	switch msg := msg.(type) {
	case *kmsg.ApiVersionsRequest:
		return s.apiVersions(msg)
	case *kmsg.MetadataRequest:
		return s.metadata(ctx, c.caller(req), msg)
	case *kmsg.ListOffsetsRequest:
		return s.listOffsets(ctx, msg)
	case *kmsg.OffsetForLeaderEpochRequest:
		return s.offsetForLeaderEpoch(ctx, msg)
	case *kmsg.CreateTopicsRequest:
		return s.createTopics(ctx, msg)
	case *kmsg.DeleteTopicsRequest:
		return s.deleteTopics(ctx, msg)
	case *kmsg.DeleteRecordsRequest:
		return s.deleteRecords(ctx, msg)
	case *kmsg.DescribeProducersRequest:
		return s.describeProducers(ctx, msg)
	case *kmsg.InitProducerIDRequest:
		return s.initProducerID(ctx, msg)
	case *kmsg.DescribeConfigsRequest:
		return s.describeConfigs(ctx, msg)
	case *kmsg.IncrementalAlterConfigsRequest:
		return s.incrementalAlterConfigs(ctx, msg)
	case *kmsg.AlterConfigsRequest:
		return s.replaceConfigs(ctx, msg)
	case *kmsg.CreatePartitionsRequest:
		return s.createPartitions(ctx, msg)
	case *kmsg.ListConfigResourcesRequest:
		return s.listConfigResources(msg)
	case *kmsg.DescribeTopicPartitionsRequest:
		return s.describeTopicPartitions(ctx, c.caller(req), msg)
	case *kmsg.DescribeLogDirsRequest:
		return s.describeLogDirs(ctx, c.caller(req), msg)
	case *kmsg.ListPartitionReassignmentsRequest:
		return s.listPartitionReassignments()
	case *kmsg.DescribeClusterRequest:
		return s.describeCluster(msg)
	case *kmsg.FindCoordinatorRequest:
		return s.findCoordinator(ctx, msg)
	case *kmsg.JoinGroupRequest:
		return s.joinGroup(ctx, msg, req.clientID, c.host)
	case *kmsg.SyncGroupRequest:
		return s.syncGroup(ctx, msg)
	case *kmsg.HeartbeatRequest:
		return s.heartbeat(ctx, msg)
	case *kmsg.LeaveGroupRequest:
		return s.leaveGroup(ctx, msg)
	case *kmsg.OffsetCommitRequest:
		return s.offsetCommit(ctx, msg)
	case *kmsg.OffsetFetchRequest:
		return s.offsetFetch(ctx, msg)
	case *kmsg.DeleteGroupsRequest:
		return s.deleteGroups(ctx, msg)
	case *kmsg.ConsumerGroupHeartbeatRequest:
		return s.consumerHeartbeat(ctx, msg, req.clientID, c.host)
	case *kmsg.ConsumerGroupDescribeRequest:
		return s.consumerDescribe(ctx, msg)
	case *kmsg.DescribeGroupsRequest:
		return s.describeGroups(ctx, msg)
	case *kmsg.ListGroupsRequest:
		return s.listGroups(ctx, msg)
	case *kmsg.OffsetDeleteRequest:
		return s.offsetDelete(ctx, msg)
	default:
		return nil
	}
}

// responseHead appends the frame size (to be set later) and the response header: v0 is the correlation id, v1 adds an
// empty tag section. ApiVersions always answers with v0, so that a client that guessed too high can read it (KIP-511).
func responseHead(dst []byte, req request) []byte {
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(req.correlation))
	if req.flexible() && req.api.key != keyAPIVersions {
		dst = append(dst, 0)
	}
	return dst
}

// encode frames a kmsg response.
func encode(req request, resp kmsg.Response) net.Buffers {
	frame := resp.AppendTo(responseHead(make([]byte, 0, 256), req))
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	return net.Buffers{frame}
}

// refuse counts code as an answer to key and returns it.
func (s *Server) refuse(key int16, code code) int16 {
	if code != codeNone {
		s.observe.Error(key, int16(code))
	}
	return int16(code)
}
