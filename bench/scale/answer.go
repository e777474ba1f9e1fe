package scale

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/ingest"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/routing"
)

// answers asks the real front door for one topic and for all, over a socket on loopback.
func (r *Result) answers(ctx context.Context, c *cluster) (err error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	cfg := ingest.DefaultConfig()
	cfg.Listener, cfg.ClusterID, cfg.NodeID, cfg.Zone = ln, "scale", 1, zoneName(0)
	server, err := ingest.New(cfg, ingest.Deps{
		View: c.view, Commands: unused{}, Batches: unused{}, Reader: unused{}, Groups: unused{},
		Members: func() routing.Members { return c.members },
		Now:     time.Now, NewTopicID: func() record.TopicID { return record.TopicID{} }, Log: discard(),
	})
	if err != nil {
		_ = ln.Close()
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-ended)
	}()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", ln.Addr().String())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute)) // fails only on a closed connection, which the next call tells
	one := kmsg.NewMetadataRequestTopic()
	one.Topic = &c.view.Topics()[0].Name
	for _, ask := range []struct {
		topics []kmsg.MetadataRequestTopic
		n      int
	}{{[]kmsg.MetadataRequestTopic{one}, 1}, {nil, r.Config.Topics}} {
		size := 0
		took := medianOf(repeats, func() {
			if err == nil {
				size, err = metadataOnce(conn, ask.topics)
			}
		})
		if err != nil {
			return fmt.Errorf("metadata of %d topics: %w", ask.n, err)
		}
		r.Answers = append(r.Answers, Answer{Topics: ask.n, CPUMillis: millis(took), KB: float64(size) / 1e3})
	}
	return nil
}

// metadataOnce asks once and returns how long the answer is. It is not read: that is the client's work.
func metadataOnce(conn net.Conn, topics []kmsg.MetadataRequestTopic) (int, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Version, req.Topics = 12, topics
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("scale")).AppendRequest(nil, req, 1)
	if _, err := conn.Write(frame); err != nil {
		return 0, err
	}
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return 0, err
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	_, err := io.CopyN(io.Discard, conn, int64(n))
	return n, err
}

// unused are the parts of a front door that nobody reaches by asking for metadata.
type unused struct {
	ingest.Commands
	ingest.Appender
	ingest.Fetcher
	ingest.Coordinator
}
