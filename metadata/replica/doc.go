// Package replica is one agent's end of the shared metadata log. Any agent can be the sequencer, the one that appends; the others
// follow it, and send it their commands. A Node has the methods of a metadata.Sequencer whichever it is, and goes over from one to
// the other by itself: who follows takes the log over when the sequencer has gone, who was deposed follows.
//
//	n := replica.New(cfg, replica.Parts{Log: log, View: view, Transport: client, …})
//	go n.Run(ctx)
//	<-n.Ready()
//	res, err := n.Do(ctx, cmd) // wherever the sequencer is; the own View has applied it
//
// What a Node decides is decided in Core: events in, actions out, without goroutines, clocks or calls, so that a simulator can
// drive many of them in one goroutine (the package's example shows how). Safety is the fenced log's alone: whatever a Core believes about
// who is alive, only the newest term appends, and a question is answered only by the log.
//
// How it fails: a command whose outcome is not known is answered metadata.ErrUnavailable, except a metadata.CommitObject, which is kept
// and handed to whoever sequences next.
package replica
