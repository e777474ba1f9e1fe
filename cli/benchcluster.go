package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/bargedata/barge/bench"
)

func (a *app) benchClusterCommand() *cobra.Command {
	cfg := bench.DefaultClusterConfig()
	rate, readRate, keep := sizeFlag(cfg.Rate), sizeFlag(cfg.ReadRate), sizeFlag(cfg.KeepBytes)
	latency := string(cfg.Latency)
	var json string
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Measure what several agents in zones cost, at work and at rest",
		Long: `Start agents in zones on a store in a process of its own, and count requests: at rest, with producers in every zone, with one
consumer group and with many, and at rest again when all background work is done. It fails when an aim is not met.
The result goes to standard output as JSON, a summary to standard error. Flags after -- go to the agents.`,
		Example: `  barge bench cluster
  barge bench cluster --latency nice --duration 60s`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
				return usagef("%q: flags for the agents come after --", args[0])
			}
			cfg.Rate, cfg.ReadRate, cfg.KeepBytes, cfg.AgentArgs = int64(rate), int64(readRate), int64(keep), args
			if cfg.Latency, err = bench.ParseProfile(latency); err != nil {
				return usagef("--latency: %w", err)
			}
			if err := cfg.Validate(); err != nil {
				return usageError{err}
			}
			result, err := bench.Cluster(cmd.Context(), cfg, a.benchParts())
			if err != nil {
				return err
			}
			if err := a.writeBench(&result, json); err != nil {
				return err
			}
			if !result.Met() {
				return errors.New("an aim is not met")
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&cfg.Agents, "agents", cfg.Agents, "`number` of agents")
	flags.IntVar(&cfg.Zones, "zones", cfg.Zones, "`number` of zones they are in")
	flags.IntVar(&cfg.Partitions, "partitions", cfg.Partitions, "`number` of partitions of the topic")
	flags.IntVar(&cfg.Groups, "groups", cfg.Groups, "`number` of consumer groups to compare with one")
	flags.Var(&rate, "rate", "bytes a second of all producers")
	flags.Var(&readRate, "read-rate", "bytes a second of all producers while groups read")
	flags.DurationVar(&cfg.Duration, "duration", cfg.Duration, "of each load")
	flags.DurationVar(&cfg.Idle, "idle", cfg.Idle, "of each measurement at rest")
	flags.DurationVar(&cfg.Settle, "settle", cfg.Settle, "between the loads and the last measurement")
	flags.DurationVar(&cfg.Grace, "release-grace", cfg.Grace, "of the agents")
	flags.StringVar(&latency, "latency", latency, "`profile` of the store's answers: zero or nice")
	flags.Var(&keep, "keep-bytes", "of objects of the write-ahead log that the store keeps")
	flags.StringVar(&json, "json", "", "`file` for the result instead of standard output")
	return cmd
}
