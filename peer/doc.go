// Package peer is how the agents of one cluster talk to each other: calls and streams over HTTP/2 with TLS 1.3, between agents that
// prove to each other that they know the cluster's secret and that they mean the same cluster (identity.go says how). What is said
// stands in peerpb/peer.proto.
//
// A Server answers calls out of a Log and the Objects of its agent; a Client calls others by their address. Two connections lead
// to each agent, one for the log and one for objects, so that a sign of life never waits behind bytes.
//
// It fails by silence: every call has a deadline, every message a largest size, and a connection whose other end does not answer
// pings for about five seconds is closed, which ends its streams. The package imports nothing of Barge but its own messages.
// Source: ADR 0007.
package peer
