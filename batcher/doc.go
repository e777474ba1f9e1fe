// Package batcher turns what producers append into WAL objects: it gathers appends for a moment, lays them out in one
// object, uploads it, has the metadata log give offsets, and answers.
//
//	b, err := batcher.New(cfg, store, sequencer, time.Now, rng, nil, logger)
//	go b.Run(ctx)
//	pending, err := b.Append(ctx, appends) // order of calls is order of offsets, partition by partition
//	<-pending.Done()
//	results := pending.Results()
//
// Decisions are made in Core, which does no I/O, knows no timers and starts nothing; Batcher carries them out. Uploads overlap,
// commits keep the order in which objects were sealed. When nothing is appended nothing runs: no request, no timer.
package batcher
