package peer

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/bargedata/barge/peer/peerpb"
)

func newRequest[T any](m *T) *connect.Request[T] { return connect.NewRequest(m) }

// transportOf is the TLS settings of a client's connection for the log, to be spoilt.
func transportOf(t *testing.T, c *Client) *tls.Config {
	t.Helper()
	transport, ok := c.log.Transport.(*http.Transport)
	if !ok {
		t.Fatal("the client has another transport")
	}
	return transport.TLSClientConfig
}

// FuzzChunks feeds messages as another agent might send them: whatever they say, memory stays with what arrived, and only an object
// that is whole is handed on.
func FuzzChunks(f *testing.F) {
	message := func(c *peerpb.ObjectChunk) []byte {
		b, err := proto.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	f.Add(message(&peerpb.ObjectChunk{Key: "k", Size: 3, Data: []byte("ab")}), message(&peerpb.ObjectChunk{Data: []byte("c")}))
	f.Add(message(&peerpb.ObjectChunk{Key: "k", Size: -1}), []byte{})
	f.Add(message(&peerpb.ObjectChunk{Key: "k", Size: MaxObjectBytes}), message(&peerpb.ObjectChunk{Key: "other", Size: 9, Data: []byte("c")}))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var c collected
		var want []byte
		for _, m := range [][]byte{first, second} {
			var chunk peerpb.ObjectChunk
			if proto.Unmarshal(m, &chunk) != nil {
				return
			}
			if c.add(&chunk) != nil {
				return
			}
			want = append(want, chunk.GetData()...)
		}
		if len(want) < chunkBytes && cap(c.body) > 4*chunkBytes {
			t.Errorf("%d bytes kept for %d that came", cap(c.body), len(want))
		}
		if _, body, err := c.done(); err == nil && (!bytes.Equal(body, want) || int64(len(body)) != c.size) {
			t.Errorf("handed on %d bytes of %d, announced %d", len(body), len(want), c.size)
		}
	})
}
