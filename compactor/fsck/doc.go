// Package fsck holds a store against its metadata log: everything the log refers to is there and whole, everything that is there
// is explained, and each table says what the log says. docs/fsck.md tells what is checked and what Repair does.
//
//	report, err := fsck.Check(ctx, store, fsck.Options{Full: true, Now: time.Now})
//
// Check only reads. It runs beside an agent: what it sees of a store that changes under it is judged against a View that is newer
// than what was seen, and only what stands then is reported. Damage is no error but a Finding; an error means that the check
// could not be made. Check starts no goroutines of its own, and asks for things in one order.
//
// Memory: the state of the log, the keys and runs it refers to, one table's snapshot, and one WAL object or a window of one Parquet
// file at a time.
package fsck
