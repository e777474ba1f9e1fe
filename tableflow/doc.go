// Package tableflow turns records into the rows of a Parquet file and back.
//
// A file holds rows of one topic. Each row group holds rows of one Kafka partition, sorted by offset. The same file is
// listed in the topic's Delta table and read by Kafka consumers, so it must give back exactly what the producer sent
// (invariant I10): key, value, headers, timestamp, null versus empty. docs/format/table.md describes every column.
//
// Writing, then reading:
//
//	w := tableflow.NewWriter(out, tableflow.WriterConfig{})
//	err := w.StartPartition(0)
//	err = w.Append(&rec) // ascending offsets
//	stats, err := w.Close()
//
//	f, err := tableflow.OpenFile(ctx, store, key, stats.Size)
//	part := stats.Parts[0]
//	err = f.Records(ctx, part.RowGroup, part.RowGroups, from, func(r *record.Record) bool { return true })
//
// Reading fails with ErrCorrupt when the bytes are not a whole file of this format, with ErrTooLarge when they ask for
// more memory than any file of ours needs, and with the store's error otherwise. It never panics on bad bytes.
package tableflow
