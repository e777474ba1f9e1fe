// Command barge is the whole of Barge in one binary: the agent, a demo, and the tools of the command line. See package cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/bargedata/barge/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal drains; with the handler gone, a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Main(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}
