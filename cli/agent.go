package cli

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/bargedata/barge"
)

func (a *app) agentCommand() *cobra.Command {
	l := &loader{settings: agentSettings(), defaults: values{Config: barge.DefaultConfig(), LogFormat: "json"}}
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run an agent: Kafka on one side, a store on the other",
		Long: `Run one agent until it gets SIGINT or SIGTERM; then it finishes what is in flight and exits with status 0.
A second signal ends it at once.

Every flag is also a variable (--flush-interval is BARGE_FLUSH_INTERVAL) and a key of the YAML file given with
--config (flush-interval: 250ms). Flags win over variables, variables over the file, the file over the defaults.`,
		Example: `  barge agent --store file:///var/lib/barge
  barge agent --store 's3://bucket/prefix?endpoint=http://127.0.0.1:7070&region=us-east-1'`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, from, err := l.load(a.environ)
			if err != nil {
				return err
			}
			if err := from.explain(v.Validate()); err != nil {
				return err
			}
			return a.runAgent(cmd.Context(), v)
		},
	}
	l.register(cmd.Flags())
	return cmd
}

func (a *app) runAgent(ctx context.Context, v values) error {
	agent, err := a.newAgent(v, newLogger(a.stderr, v))
	if err != nil {
		return err
	}
	return agent.Run(ctx)
}

// programBytes is what the program's own pages and what its runtime cannot give back take of an agent's memory.
const programBytes = 32 << 20

// newAgent hands an agent the parts of a real process. Left alone, the garbage collector lets a heap grow to twice what lives in
// it; near the memory that the settings stand for it has to work harder instead, unless the user has set a limit.
func (a *app) newAgent(v values, log *slog.Logger) (*barge.Agent, error) {
	if a.env("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(v.MemoryBytes() - programBytes)
	}
	var seed [8]byte
	if _, err := crand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("random numbers: %w", err)
	}
	return barge.New(v.Config, barge.Parts{
		Logger: log, Env: a.env, Now: a.now, Seed: binary.LittleEndian.Uint64(seed[:]), Version: readVersion().String(),
	})
}

func newLogger(w io.Writer, v values) *slog.Logger {
	opts := &slog.HandlerOptions{Level: v.LogLevel}
	if v.LogFormat == "text" {
		return slog.New(slog.NewTextHandler(w, opts))
	}
	return slog.New(slog.NewJSONHandler(w, opts))
}
