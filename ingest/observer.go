package ingest

import "time"

// Observer hears what the front door does, for metrics. Calls come from many goroutines, on the request path: they must
// be quick and must not block. A nil Observer in Deps is allowed.
type Observer interface {
	// Connections tells how many are open, at each change.
	Connections(open int)
	// Request reports one request answered (or, with acks=0, done): its API key, the bytes of its frame and of its reply
	// and the time from its last byte's arrival to the hand-over of its reply to the socket.
	Request(key int16, bytesIn, bytesOut int, took time.Duration)
	// Produced reports one Produce request whose batches were handed to the batcher, from the hand-over to their fate.
	Produced(batches int, bytes int64, took time.Duration)
	// Error counts a Kafka error code sent, by API key.
	Error(key, code int16)
	// Placed counts a Metadata answer by how the client's zone fared: hit, miss or unaware.
	Placed(outcome string)
	// Redirected counts an answer that sends a client to another agent: because this one drains, or for its zone.
	Redirected(reason string)
	// CrossedZones counts the bytes of a request and its reply, where the client is known to be in another zone than this
	// agent. Both labels are the client's own words, of any length and number: whoever keeps them bounds them.
	CrossedZones(clientID, clientZone string, bytesIn, bytesOut int)
	// Refused counts a connection turned away or closed for a fault of its peer. The reason is one of a fixed few.
	Refused(reason string)
}

// Reasons given to Observer.Refused.
const (
	refusedConnections      = "too_many_connections"
	refusedConnectionsPerIP = "too_many_connections_per_ip"
	refusedFrame            = "bad_frame"
	refusedUnsupported      = "unsupported_api"
	refusedStalled          = "stalled"
	refusedPanic            = "panic"
	refusedAcksZero         = "acks_zero_failed"
)

// nobody is the Observer of a server that has none.
type nobody struct{}

// Connections does nothing, as all its methods.
func (nobody) Connections(int) {}

// Request does nothing.
func (nobody) Request(int16, int, int, time.Duration) {}

// Produced does nothing.
func (nobody) Produced(int, int64, time.Duration) {}

// Error does nothing.
func (nobody) Error(int16, int16) {}

// Placed does nothing.
func (nobody) Placed(string) {}

// Redirected does nothing.
func (nobody) Redirected(string) {}

// CrossedZones does nothing.
func (nobody) CrossedZones(string, string, int, int) {}

// Refused does nothing.
func (nobody) Refused(string) {}
