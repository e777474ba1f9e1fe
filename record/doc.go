// Package record holds the words and bytes of the log: offsets, partitions, record batches of format v2 as Kafka's wire
// carries them, and the WAL object, in which Barge stores the batches of many partitions together. It does no I/O.
//
// The path of a produced batch:
//
//	b, err := record.Parse(buf)                      // length, magic and CRC-32C hold; b aliases buf
//	err = b.ValidateProduce(record.DefaultLimits())  // Kafka's rules for what a client may send, records included
//	w := record.NewObjectWriter(header, sizeHint)
//	err = w.Add(partition, b)                        // partitions ascending
//	body, runs, err := w.Finish()                    // the WAL object
//
// and of a fetched one:
//
//	b, rest, err := record.Split(run)                // bytes that were verified as a whole
//	head = record.PatchHeader(head, b, base, epoch)  // 16 bytes; the rest of the reply is b.Bytes()[16:]
//
// Formats: docs/format/record-batch.md and docs/format/wal-object.md. Every error wraps one of ErrTruncated, ErrMagic,
// ErrCorrupt, ErrInvalid, ErrUnknownCodec, ErrTooLarge and says what was wrong.
package record
