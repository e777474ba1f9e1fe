// Package routing says which agent does what: who leads a partition for a client, who holds an object in a zone's cache, who
// does a piece of background work. Every agent serves everything, so an answer given from an old list of members costs a
// detour and never correctness; that is why nothing here is agreed upon, only computed.
//
//	ms := node.Members()                                        // live agents, as this one knows them
//	owner, ok := routing.Pick(objectKey, ms.Live().InZone("a")) // one agent for a key, the same on every agent
//
// Choices are made by rendezvous hashing: a key goes to the member with the highest hash of the two, so that a member who
// comes takes an equal share from everybody and one who goes hands its own to everybody, and nothing else moves. The hash
// is this package's own and never changes: agents of different builds agree.
//
// Everything is pure and safe for concurrent use. A Members value is never changed once made.
package routing
