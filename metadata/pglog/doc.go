// Package pglog is the fenced metadata log in PostgreSQL, or in a database that speaks its protocol and SQL. The log of a cluster
// has a PostgreSQL schema of its own, which Open makes and migrates, so several clusters may share a database.
//
//	log, err := pglog.Open(ctx, pglog.Config{URL: "postgres://barge@db/barge", Cluster: id, Create: true}, newID, logger)
//	defer log.Close()
//	got, err := log.Acquire(ctx, "agent-7:9092")
//	err = log.Append(ctx, got.Term, got.Next, id, body)
//
// An append is one statement: it moves the shard's row from (term, next) on and inserts the entry if that succeeded. The row's lock
// puts appends and claims in one order; nothing here rests on a clock, a lock that is held between statements, or a lease.
//
// A commit counts once the server has answered it, and with synchronous replication the server answers when the standby has it. What a
// SELECT shows may be less durable than that: a commit whose wait for the standby was broken off, or whose server crashed during the
// wait, is visible and not replicated. So whoever learns something by reading writes a row on the same connection before he believes it:
// that commit is answered only when everything before it is safe too.
//
// Tables and hashes are described in docs/format/postgres-log.md, how to run the server in docs/postgres.md.
package pglog
