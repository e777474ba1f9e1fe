// Package barge assembles one agent: it is the tour of the packages below it.
//
// A produce request enters through ingest, which checks its batches (record) and hands them to the batcher. The batcher collects
// 250 ms or 8 MiB of them into one WAL object, puts it into the object store (objectstore) and commits it: the Sequencer (metadata)
// appends an entry to the fenced log (metadata/bucketlog), which gives every batch its offsets. Then the producer is answered, and the
// object's bytes seed the tail cache of fetch.
//
// A fetch request asks the metadata View where an offset lies and reads it from the tail cache, a WAL object, or a Parquet row group
// (tableflow). Consumer groups live in group; their offsets are keys of the log.
//
// In the background the compactor turns WAL objects into one Parquet file a topic, replaces the runs in the log, folds the files into the
// topic's Delta log (tableflow/delta), and deletes the objects after a grace.
//
//	agent, err := barge.New(cfg, barge.Parts{Logger: logger, Env: os.Getenv, Now: time.Now, Seed: seed})
//	err = agent.Run(ctx) // until ctx ends, then drains
package barge
