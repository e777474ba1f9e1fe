package cli

import (
	"context"
	crand "crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bargedata/barge"
	"github.com/bargedata/barge/compactor/fsck"
	"github.com/bargedata/barge/objectstore"
)

// findingsError makes the exit status tell that something is wrong; what it is has been told.
type findingsError struct{ n int64 }

func (e findingsError) Error() string { return fmt.Sprintf("%d findings", e.n) }

func (a *app) fsckCommand() *cobra.Command {
	var out outputFlag
	var at storeFlag
	var logAt metadataFlag
	var mend, force bool
	verify := "full"
	cmd := &cobra.Command{
		Use:   "fsck",
		Short: "Check that a store is whole: log, objects, files and tables",
		Long: `Hold a store against its metadata log. Everything that the log refers to must be there and whole, everything that is there must be explained,
and each table must hold what the log says. Without --repair it only reads, and may run beside agents.

--repair deletes what nothing refers to, replaces damaged snapshots, and rebuilds from the metadata log what a table's Delta log has lost. What
cannot be rebuilt is told with the topic, partition and offsets that are lost. Every agent must be stopped first.

Each finding is one line: how bad it is, which object, what is wrong with it, and what to do. The exit status is 0 when nothing is wrong, 1
when something was found or the check could not be made, and 2 for a command line that cannot be understood. docs/fsck.md has the details.`,
		Example: `  barge fsck --store file:///var/lib/barge
  barge fsck --store 's3://bucket/prefix?endpoint=http://127.0.0.1:7070&region=us-east-1' --verify refs -o json
  barge fsck --store file:///var/lib/barge --metadata postgres://barge@db/barge
  barge fsck --store file:///var/lib/barge --repair`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if verify != "full" && verify != "refs" {
				return usagef("--verify %s: want full or refs%s", verify, didYouMean(verify, []string{"full", "refs"}, ""))
			}
			if force && !mend {
				return usagef("--force goes with --repair")
			}
			if mend && verify != "full" {
				return usagef("--repair reads everything: leave --verify %s out", verify)
			}
			rawMetadata, err := a.metadata(cmd, logAt)
			if err != nil {
				return err
			}
			return a.runFsck(cmd.Context(), fsckRun{at: at, metadata: rawMetadata, full: verify == "full", json: out.json(), repair: mend, force: force})
		},
	}
	cmd.Flags().StringVar(&verify, "verify", verify, "`what` to read: full reads every byte, refs lists objects and compares sizes")
	cmd.Flags().BoolVar(&mend, "repair", false, "mend what can be mended; agents must be stopped")
	cmd.Flags().BoolVar(&force, "force", false, "with --repair: take agents whose sessions are open for dead, and fence them")
	a.registerStore(cmd.Flags(), &at)
	a.registerMetadata(cmd.Flags(), &logAt)
	out.register(cmd.Flags())
	return cmd
}

// fsckRun is what the flags ask for.
type fsckRun struct {
	at                        storeFlag
	metadata                  string
	full, json, repair, force bool
}

func (a *app) runFsck(ctx context.Context, run fsckRun) error {
	store, err := a.openStore(ctx, run.at)
	if err != nil {
		return err
	}
	o := fsck.Options{Full: run.full, ReadAhead: 8, Now: a.now}
	closeLog, err := a.logToCheck(ctx, store, run.metadata, &o)
	if err != nil {
		return fmt.Errorf("%s: %w", string(run.at), err)
	}
	defer closeLog()
	if isTerminal(a.stderr) {
		o.Progress = a.progress()
	}
	began := a.now()
	var report fsck.Report
	if run.repair {
		report, err = fsck.Repair(ctx, store, o, fsck.RepairOptions{Force: run.force, IDs: randomID, Random: func() string {
			id := randomID()
			return hex.EncodeToString(id[:])
		}})
	} else {
		report, err = fsck.Check(ctx, store, o)
	}
	if err != nil {
		for _, line := range report.Repaired {
			tell(a.stderr, "repaired: %s\n", oneLine(line))
		}
	}
	if errors.Is(err, fsck.ErrInUse) && !run.force {
		return fmt.Errorf("%w (--force does that)", err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", string(run.at), err)
	}
	return a.printReport(report, a.now().Sub(began), run.json)
}

// logToCheck tells the check where the metadata log lies. A store that is too damaged to say so is checked as one of the bucket's.
func (a *app) logToCheck(ctx context.Context, store objectstore.Store, rawMetadata string, o *fsck.Options) (closeLog func(), err error) {
	log, err := a.openLog(ctx, store, rawMetadata)
	if err != nil && (rawMetadata != barge.MetadataBucket || errors.Is(err, barge.ErrLogPlace)) {
		return nil, err
	}
	if err != nil {
		return func() {}, nil //nolint:nilerr // the check finds it, and tells more
	}
	if o.LogPrefix = log.Place().Prefix; log.Postgres() {
		o.Log, o.LogPrefix = log, barge.RedactMetadata(rawMetadata)
	}
	return log.Close, nil
}

// randomID is truly random: fencing rests on it. Go's reader of randomness does not fail.
func randomID() (id [16]byte) {
	_, _ = crand.Read(id[:])
	return id
}

// progress tells a person what is being looked at, at most once a second.
func (a *app) progress() func(string) {
	var last time.Time
	return func(what string) {
		if now := a.now(); now.Sub(last) >= time.Second {
			last = now
			tell(a.stderr, "checking %s\n", what)
		}
	}
}

func (a *app) printReport(r fsck.Report, took time.Duration, asJSON bool) error {
	if asJSON {
		if err := a.writeJSON(r); err != nil {
			return err
		}
	} else {
		for _, line := range r.Repaired {
			tell(a.stdout, "repaired: %s\n", oneLine(line))
		}
		for _, line := range r.Refused {
			tell(a.stdout, "not repaired: %s\n", oneLine(line))
		}
		for _, f := range r.Findings {
			tell(a.stdout, "%s\n", oneLine(f.String()))
		}
		if r.Left > 0 {
			tell(a.stdout, "%d more findings are not listed\n", r.Left)
		}
		a.printCounts(r, took)
	}
	if r.Clean() {
		return nil
	}
	return findingsError{int64(len(r.Findings)) + r.Left}
}

// oneLine keeps what an object's bytes say from breaking the line.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func (a *app) printCounts(r fsck.Report, took time.Duration) {
	n := r.Counts
	tell(a.stdout, "cluster %s, log up to entry %d: %d slots, %d snapshots\n", r.Cluster, r.Next, n.Slots, n.Snapshots)
	tell(a.stdout, "%d topics, %d partitions: %s runs in %d WAL objects (%s) and %d inline ones (%s)\n", n.Topics, n.Partitions, humanCount(n.Runs),
		n.Objects.Objects, humanSize(n.Objects.Bytes), n.Inline.Objects, humanSize(n.Inline.Bytes))
	tell(a.stdout, "%d files (%s); %d tables with %d versions and %d checkpoints\n", n.Files.Objects, humanSize(n.Files.Bytes), n.Tables, n.Versions, n.Checkpoints)
	if r.Full {
		tell(a.stdout, "read whole: %s batches and %s rows\n", humanCount(n.Batches), humanCount(n.Rows))
	} else {
		tell(a.stdout, "contents of objects and files were not read (--verify full does)\n")
	}
	if n.Waiting.Objects > 0 {
		tell(a.stdout, "%d objects (%s) are on their way in or out\n", n.Waiting.Objects, humanSize(n.Waiting.Bytes))
	}
	verdict := "clean"
	if !r.Clean() {
		verdict = fmt.Sprintf("%d findings", int64(len(r.Findings))+r.Left)
	}
	tell(a.stdout, "%d objects (%s) in all, %.1f s: %s\n", n.Listed.Objects, humanSize(n.Listed.Bytes), took.Seconds(), verdict)
}

// isFindings tells the status of a store from a failure to check it.
func isFindings(err error) bool {
	_, ok := errors.AsType[findingsError](err)
	return ok
}
