package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/bargedata/barge/bench"
)

func (a *app) benchTopicsCommand() *cobra.Command {
	cfg := bench.DefaultTopicsConfig()
	rate, size := sizeFlag(cfg.Rate), sizeFlag(cfg.RecordBytes)
	var json string
	cmd := &cobra.Command{
		Use:   "topics",
		Short: "Measure many topics with little data each, against the arithmetic",
		Long: `Start agents on a local directory, make many topics, write to all of them for some minutes, and hold what it took against
what it should take: requests to the store, commits of tables, memory. It fails when a figure is off by more than --factor.
The result goes to standard output as JSON, a summary to standard error. Flags after -- go to the agents.`,
		Example: `  barge bench topics
  barge bench topics --duration 2m --agents 5 --zones 3`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
				return usagef("%q: flags for the agents come after --", args[0])
			}
			cfg.Rate, cfg.RecordBytes, cfg.AgentArgs = int64(rate), int(size), args
			if err := cfg.Validate(); err != nil {
				return usageError{err}
			}
			result, err := bench.Topics(cmd.Context(), cfg, a.benchParts())
			if err != nil {
				return err
			}
			if err := a.writeBench(&result, json); err != nil {
				return err
			}
			if result.Off() {
				return errors.New("what was measured is not what the arithmetic says")
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&cfg.Topics, "topics", cfg.Topics, "`number` of topics, of one partition each")
	flags.IntVar(&cfg.Agents, "agents", cfg.Agents, "`number` of agents")
	flags.IntVar(&cfg.Zones, "zones", cfg.Zones, "`number` of zones they are in; 0: they name none")
	flags.IntVar(&cfg.Clients, "clients", cfg.Clients, "`number` of producers, each with its share of the topics")
	flags.Var(&rate, "rate", "bytes of values a second, in all topics together")
	flags.Var(&size, "record-bytes", "of a record's value")
	flags.DurationVar(&cfg.Duration, "duration", cfg.Duration, "of the load")
	flags.Float64Var(&cfg.Factor, "factor", cfg.Factor, "by which a figure may be off")
	flags.StringVar(&cfg.Directory, "dir", cfg.Directory, "`directory` for the store, which should be empty; one that is removed at the end by default")
	flags.StringVar(&json, "json", "", "`file` for the result instead of standard output")
	return cmd
}
