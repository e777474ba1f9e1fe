// Package ingest is the front door for Kafka clients: it listens, frames, decodes, judges and answers. What it is asked
// for it finds behind small interfaces (Deps): batches go to the batcher, reads to fetch, order to metadata, groups to a
// coordinator.
//
//	server, err := ingest.New(cfg, deps)
//	err = server.Run(ctx) // until ctx ends; then everything in flight is answered, within Config.DrainTimeout
//
// One connection is one reader and one writer goroutine with a ring of reserved replies between them. The reader takes
// requests in order and starts each: a Produce is checked and handed to the batcher before the next frame is read, so a
// connection's batches are committed in the order they came, while their uploads overlap. The writer waits for each
// reply in turn, so replies go out in request order however the work overlapped.
//
// A peer's bytes never decide an allocation alone: frames are capped by key and paid for from a shared budget before
// they are read (limits.go), counts are walked before anything is built from them (wire.go, schema.go). A frame that
// lies closes its connection and no other.
//
// errors.go alone maps errors to Kafka codes. docs/skipped.md lists the behaviors of Kafka left out. Source: the Kafka
// protocol guide and the KIPs named where they matter.
package ingest
