// Package kfake has the part of franz-go's package of that name that its ported Kafka tests use, with agents of Barge
// behind it: a Cluster is one or more `barge agent` processes on a directory of their own, and between each of them and
// its clients stands a gate that can watch requests and answer them itself. The tests' own files are compiled against this
// package instead of theirs; what they ask of a cluster and it does not have is an error that names it.
//
// The environment names the binary: BARGE_BINARY.
package kfake
