package cli

import (
	"github.com/spf13/cobra"

	"github.com/bargedata/barge/bench/scale"
)

func (a *app) benchScaleCommand() *cobra.Command {
	cfg := scale.DefaultConfig()
	rate, flush, compact, heap := sizeFlag(cfg.Rate), sizeFlag(cfg.FlushBytes), sizeFlag(cfg.CompactRate), sizeFlag(cfg.HeapLimit)
	var json string
	cmd := &cobra.Command{
		Use:   "scale",
		Short: "Measure the metadata of a large cluster, without its data",
		Long: `Drive the sequencer, the state, the compaction planner and the routing with what many agents would tell them, in one process
and in virtual time, and tell what it takes: CPU, bytes of log, heap, snapshots, recovery. No store and no agent is started.
The result goes to standard output as JSON, a summary to standard error.`,
		Example: `  barge bench scale
  barge bench scale --topics 10000 --partitions 1000000 --rate 10MB`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Rate, cfg.FlushBytes, cfg.CompactRate, cfg.HeapLimit = int64(rate), int64(flush), int64(compact), int64(heap)
			if err := cfg.Validate(); err != nil {
				return usageError{err}
			}
			result, err := scale.Run(cmd.Context(), cfg, a.benchParts())
			if err != nil {
				return err
			}
			return a.writeBench(&result, json)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&cfg.Agents, "agents", cfg.Agents, "`number` of agents")
	flags.IntVar(&cfg.Zones, "zones", cfg.Zones, "`number` of zones they are in")
	flags.IntVar(&cfg.Topics, "topics", cfg.Topics, "`number` of topics")
	flags.IntVar(&cfg.Partitions, "partitions", cfg.Partitions, "`number` of partitions in all of them")
	flags.Var(&rate, "rate", "bytes a second of all producers")
	flags.BoolVar(&cfg.Idempotent, "idempotent", cfg.Idempotent, "an idempotent producer for each partition")
	flags.DurationVar(&cfg.Load, "load", cfg.Load, "of virtual time that is measured")
	flags.DurationVar(&cfg.FlushInterval, "flush-interval", cfg.FlushInterval, "of agents")
	flags.Var(&flush, "flush-bytes", "of agents")
	flags.DurationVar(&cfg.Append, "append", cfg.Append, "what an entry takes to be durable")
	flags.IntVar(&cfg.Compactors, "compactors", cfg.Compactors, "`number` of agents that compact")
	flags.Var(&compact, "compact-rate", "bytes a second that each compactor reads and writes; 0: nothing is compacted")
	flags.BoolVar(&cfg.Everybody, "everybody", cfg.Everybody, "let all agents lead partitions, not as many as the load asks for")
	flags.Var(&heap, "heap-limit", "heap above which the load ends")
	flags.StringVar(&json, "json", "", "`file` for the result instead of standard output")
	return cmd
}
