// Package metadata keeps the order of everything: topics, offsets, where records lie, producers, table progress.
//
// State is a pure, deterministic state machine: Apply folds one Entry into it and returns one Result a command. A Log
// makes entries durable in one fenced order; engines live below (bucketlog). The Sequencer is the one agent that
// appends; a View is the read side, with waiting. Nothing outside the log is true about order.
//
// A first call: NewView, NewSequencer over a Log, Run it in a goroutine of yours, wait for Ready, then Do a CreateTopic and
// an OpenSession, Commit objects, and ask the View where records lie (Locate) and when more come (Watch).
//
// How it fails: a refusal is the Err of a Result, one of the sentinels of errors.go, and has changed nothing. An error of
// Do or Submit means that the outcome is unknown (ErrUnavailable), except ErrInvalidCommand, for a command that can not be
// written at all. Run ends with ErrFenced when another agent is the sequencer now, with ErrCorrupt when bytes of the log
// fail their checks.
//
// Formats: docs/format/log-entry.md and docs/format/snapshot.md.
package metadata
