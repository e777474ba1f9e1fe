// Package peer is how the agents of one cluster talk to each other: calls and streams over HTTP/2, encrypted, between agents that
// prove to each other that they know the cluster's secret. It imports nothing of Barge but its own messages (peerpb).
package peer
