// Package bucketlog is the fenced metadata log on an object store that can create-if-absent. Every slot is an object of
// its own, written once; who creates it first has it. Nothing is ever overwritten, and no clock but the store's own enters
// a safety argument.
//
//	log, err := bucketlog.New(store, bucketlog.Config{Prefix: "meta/0"}, newID, logger)
//	got, err := log.Acquire(ctx, "agent-7:9092")
//	err = log.Append(ctx, got.Term, got.Next, id, body)
//
// Doubt is settled by writing, not by reading: that a slot looks empty does not prove that an earlier write can not still
// land in it, so an unclear Append is repeated at the same slot until the slot holds it or something newer.
//
// Calls run in the caller's goroutine and use no timers; only Read with Config.ReadAhead above 1 starts goroutines, which
// end before it returns. Keys and frames are described in docs/format/bucket-log.md.
package bucketlog
