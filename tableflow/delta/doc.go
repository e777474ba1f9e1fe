// Package delta writes and reads the log of a Delta Lake table by its protocol: numbered JSON commits made by
// put-if-absent, classic (V1) Parquet checkpoints, and the _last_checkpoint hint.
//
// The tables Barge writes have the profile "wide": reader version 1, so that every engine reads them, and writer version
// 7 with named writer features, so that no engine rewrites files that Kafka consumers replay. docs/format/table.md
// lists the features and which engine was seen reading them.
//
//	log := delta.NewLog(store, "tables/orders", now)
//	snap, err := log.Load(ctx) // ErrNoTable: start from delta.Empty()
//	snap, err = log.Commit(ctx, snap, delta.Commit{TxnID: id, Operation: "WRITE", Actions: actions})
//	if snap.Version%delta.CheckpointEvery == 0 {
//		err = log.Checkpoint(ctx, snap)
//	}
//
// Commit fails with ErrVersionExists when somebody else made that version: Load again, see what is still missing, try
// again. Repeating a Commit with the same TxnID on the same base is harmless.
package delta
