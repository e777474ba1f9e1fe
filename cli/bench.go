package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bargedata/barge/bench"
	"github.com/bargedata/barge/record"
)

// sizeFlag is a flag that takes a size such as 64KiB.
type sizeFlag int64

// String, Set and Type make it a flag.
func (s *sizeFlag) String() string { return formatSize(int64(*s)) }

// Set reads a size.
func (s *sizeFlag) Set(text string) error {
	n, err := parseSize(text)
	if err == nil {
		*s = sizeFlag(n)
	}
	return err
}

// Type is shown in the help.
func (s *sizeFlag) Type() string { return "size" }

// benchOptions is what `barge bench produce` and `barge bench consume` are told.
type benchOptions struct {
	cfg     bench.Config
	brokers string
	codec   string
	payload string
	latency string
	json    string // file for the result

	batch, record, total, rate, keep sizeFlag
}

func (a *app) benchCommand() *cobra.Command {
	return group("bench", "Measure agents: rate, CPU, memory, requests and latency", a.benchProduceCommand(), a.benchConsumeCommand(), a.benchTopicsCommand(), a.benchClusterCommand(), a.benchScaleCommand(), a.benchStoreCommand(), a.benchFloorCommand())
}

func (a *app) benchProduceCommand() *cobra.Command {
	o := &benchOptions{cfg: bench.DefaultConfig()}
	cmd := &cobra.Command{
		Use:   "produce",
		Short: "Measure how an agent takes what producers send",
		Long: `Send ready-made record batches for a few seconds and tell rate, latency, and what the agent used for it.

Without --brokers an agent is started for it, with a store in a process of its own that throws objects away. With
--floor the agent is held against the least that such a server can do, in the same run, block by block. The result goes
to standard output as JSON, a summary to standard error. Flags after -- go to the agent that is started.`,
		Example: `  barge bench produce --floor --blocks 5
  barge bench produce --latency nice --rate 30MiB
  barge bench produce --brokers 10.0.0.1:9092 --metrics-url http://10.0.0.1:8080/metrics`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return a.bench(cmd, o, args, bench.Produce) },
	}
	o.register(cmd.Flags())
	cmd.Flags().BoolVar(&o.cfg.Floor, "floor", false, "compare with the least that such a server can do")
	cmd.Flags().IntVar(&o.cfg.Blocks, "blocks", o.cfg.Blocks, "`number` of measurements, or with --floor of blocks of four")
	return cmd
}

func (a *app) benchConsumeCommand() *cobra.Command {
	o := &benchOptions{cfg: bench.DefaultConfig()}
	o.cfg.KeepBytes, o.cfg.TotalBytes = 1<<30, 512<<20
	cmd := &cobra.Command{
		Use:   "consume",
		Short: "Measure how an agent serves consumers",
		Long: `Read what lies in a topic from its start, or with --tail what is being written meanwhile, and tell rate, and what the
agent used for it. Every record is checked by its hash.

Without --brokers a store is filled first, at most with --total-bytes, and an agent with empty caches is started on it.`,
		Example: `  barge bench consume
  barge bench consume --tail --rate 30MiB --consumers 3
  barge bench consume --brokers 10.0.0.1:9092 --topic logs --partitions 16`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return a.bench(cmd, o, args, bench.Consume) },
	}
	o.register(cmd.Flags())
	cmd.Flags().BoolVar(&o.cfg.Tail, "tail", false, "read at the end of the log, while it is written")
	cmd.Flags().IntVar(&o.cfg.Consumers, "consumers", o.cfg.Consumers, "`number` of connections that read; with --tail each reads everything")
	return cmd
}

func (o *benchOptions) register(flags *pflag.FlagSet) {
	c := &o.cfg
	o.batch, o.record, o.total, o.rate, o.keep = sizeFlag(c.BatchBytes), sizeFlag(c.RecordBytes), sizeFlag(c.TotalBytes), sizeFlag(c.Rate), sizeFlag(c.KeepBytes)
	flags.StringVar(&o.brokers, "brokers", "", "`host:port` of a cluster that runs already, separated by commas")
	flags.StringVar(&c.MetricsURL, "metrics-url", "", "`url` of the metrics of an agent of --brokers")
	flags.StringVar(&c.Topic, "topic", c.Topic, "`topic` to write to; made when it is missing")
	flags.IntVar(&c.Partitions, "partitions", c.Partitions, "`number` of partitions of the topic")
	flags.IntVar(&c.Connections, "connections", c.Connections, "`number` of connections that write")
	flags.IntVar(&c.InFlight, "in-flight", c.InFlight, "`number` of requests of a connection that wait for their answer")
	flags.Var(&o.batch, "batch-bytes", "of a record batch, before it is compressed")
	flags.Var(&o.record, "record-bytes", "of a record's value")
	flags.StringVar(&o.codec, "codec", "none", "`codec`: none, gzip, snappy, lz4 or zstd")
	flags.StringVar(&o.payload, "payload", string(c.Payload), "`kind` of values: logs or random")
	flags.BoolVar(&c.Idempotent, "idempotent", false, "send as idempotent producers, one for each connection")
	flags.Uint64Var(&c.Seed, "seed", c.Seed, "`number` that values are made of")
	flags.DurationVar(&c.Duration, "duration", c.Duration, "of one measurement")
	flags.DurationVar(&c.Warmup, "warmup", c.Warmup, "of load before the first measurement")
	flags.Var(&o.total, "total-bytes", "most that one measurement sends")
	flags.Var(&o.rate, "rate", "bytes a second to send; 0 is as fast as it goes")
	flags.StringVar(&o.latency, "latency", string(bench.ProfileZero), "`profile` of the store's answers: zero or nice")
	flags.Var(&o.keep, "keep-bytes", "of objects that the store keeps for reading; 0 throws them away")
	flags.BoolVar(&c.Verify, "verify", false, "let the store check bodies against their checksum header")
	flags.StringVar(&c.Profile, "profile", "", "`file` for a CPU profile of the agent that is started")
	flags.StringVar(&o.json, "json", "", "`file` for the result instead of standard output")
}

// config puts the flags together.
func (o *benchOptions) config(args []string) (bench.Config, error) {
	c := o.cfg
	c.BatchBytes, c.RecordBytes, c.TotalBytes, c.Rate, c.KeepBytes = int(o.batch), int(o.record), int64(o.total), int64(o.rate), int64(o.keep)
	c.AgentArgs = args
	for addr := range strings.SplitSeq(o.brokers, ",") {
		if addr = strings.TrimSpace(addr); addr != "" {
			c.Brokers = append(c.Brokers, addr)
		}
	}
	var err error
	if c.Codec, err = record.ParseCodec(o.codec); err != nil {
		return c, usagef("--codec: %w", err)
	}
	if c.Payload, err = bench.ParsePayload(o.payload); err != nil {
		return c, usagef("--payload: %w", err)
	}
	if c.Latency, err = bench.ParseProfile(o.latency); err != nil {
		return c, usagef("--latency: %w", err)
	}
	if err := c.Validate(); err != nil {
		return c, usageError{err}
	}
	return c, nil
}

func (a *app) bench(cmd *cobra.Command, o *benchOptions, args []string, measure func(context.Context, bench.Config, bench.Parts) (bench.Result, error)) error {
	if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
		return usagef("%q: flags for the agent come after --", args[0])
	}
	cfg, err := o.config(args)
	if err != nil {
		return err
	}
	result, err := measure(cmd.Context(), cfg, a.benchParts())
	if err != nil {
		return err
	}
	return a.writeBench(&result, o.json)
}

// benchParts is what every measurement is given.
func (a *app) benchParts() bench.Parts {
	version := readVersion()
	commit := version.Commit
	if version.Modified {
		commit += "+modified"
	}
	return bench.Parts{Progress: a.stderr, Environ: a.environ, Commit: commit, Version: version.Version}
}

// writeBench writes a result as JSON, to a file or to standard output, and a summary of it to standard error.
func (a *app) writeBench(result interface{ WriteSummary(w io.Writer) error }, file string) error {
	if err := result.WriteSummary(a.stderr); err != nil {
		return err
	}
	if file == "" {
		return a.writeJSON(result)
	}
	f, err := os.Create(file) //nolint:gosec // the user names it
	if err != nil {
		return err // names the file
	}
	to := *a
	to.stdout = f
	err = to.writeJSON(result)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

func (a *app) benchStoreCommand() *cobra.Command {
	var cfg bench.StoreConfig
	var listen, latency string
	var keep sizeFlag
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Serve an S3 bucket that throws objects of the write-ahead log away",
		Long:  `Serve what an agent needs of S3, in memory, until interrupted. One line of JSON tells the address and where the counters are.`,
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			cfg.KeepBytes = int64(keep)
			if cfg.Latency, err = bench.ParseProfile(latency); err != nil {
				return usagef("--latency: %w", err)
			}
			return bench.RunStore(cmd.Context(), listen, cfg, a.stdout)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "`host:port`; port 0 takes a free one")
	cmd.Flags().Var(&keep, "keep-bytes", "of objects of the write-ahead log to keep; 0 throws them away")
	cmd.Flags().StringVar(&latency, "latency", string(bench.ProfileZero), "`profile` of answers: zero or nice")
	cmd.Flags().Uint64Var(&cfg.Seed, "seed", 1, "`number` that latencies are drawn from")
	cmd.Flags().BoolVar(&cfg.Verify, "verify", false, "refuse a body that is not what its checksum header says")
	return cmd
}

func (a *app) benchFloorCommand() *cobra.Command {
	var listen, store string
	cmd := &cobra.Command{
		Use:   "floor",
		Short: "Serve the least that can be done with a Produce request, to measure agents against",
		Long: `Take Produce requests, check the batches' CRC, copy them into objects of 8 MiB, put those into a store, and answer. No
record is looked at and nothing can be read back: this is a yardstick, not a server.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if store == "" {
				return usagef("--store is missing: want http://host:port/bucket/prefix")
			}
			return bench.RunFloor(cmd.Context(), listen, store, a.stdout)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "`host:port`; port 0 takes a free one")
	cmd.Flags().StringVar(&store, "store", "", "`url` of a bucket, as `barge bench store` serves it: http://host:port/bucket/prefix")
	return cmd
}
