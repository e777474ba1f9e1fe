package bench_test

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/bargedata/barge/cli"
)

// childVariable makes this test binary the barge binary, so that runs can start their processes from it.
const childVariable = "BENCH_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		status := cli.Main(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr, os.Environ())
		stop()
		os.Exit(status)
	}
	os.Exit(m.Run())
}
