// Package fetch reads the log: from an offset of a partition to record batches as Kafka's wire carries them.
//
// Where records lie, the View of the metadata log tells. They come from the tail (recent WAL objects that the batcher
// hands over with Seed), from WAL objects in the store, or, once compacted, from Parquet row groups, out of which batches
// are built anew with the same offsets, timestamps, keys, values and headers.
//
//	r, err := fetch.New(fetch.DefaultConfig(), view, store, fetch.Parquet(store), log)
//	response := r.Fetch(ctx, fetch.Request{MinBytes: 1, MaxBytes: 50 << 20, MaxWait: 500 * time.Millisecond, Partitions: parts})
//
// An error belongs to one partition and stands in its response: metadata.ErrUnknownTopic, metadata.ErrOffsetOutOfRange
// (with the bounds), ErrCorrupt, tableflow's, or the store's, wrapped with the object's key.
package fetch
