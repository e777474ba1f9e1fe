package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/bargedata/barge"
	"github.com/bargedata/barge/metadata"
)

func (a *app) metadataCommand() *cobra.Command {
	return group("metadata", "Move the metadata log to another place, or accept what a database has lost",
		a.metadataCopyCommand(), a.metadataAcceptLossCommand())
}

func (a *app) metadataCopyCommand() *cobra.Command {
	var at storeFlag
	var from, to string
	var force bool
	cmd := &cobra.Command{
		Use:   "copy --from ENGINE --to ENGINE",
		Short: "Move the metadata log of a stopped cluster between bucket and PostgreSQL",
		Long: `Move the metadata log of a cluster to another place: from the bucket to PostgreSQL, back, or to another database. Stop every agent first.

The log is copied and compared, then the old one is ended and the store is told the new place. Agents that are started with the old --metadata
afterwards are refused and told where the log is. Interrupted at any point, the command can be run again; until it has ended the old log,
agents may go on with that instead. Offsets, terms and everything else stay as they are. The old log is not deleted.`,
		Example: `  barge metadata copy --store file:///var/lib/barge --from bucket --to postgres://barge@db/barge
  barge metadata copy --store file:///var/lib/barge --from postgres://barge@db/barge --to bucket`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, end := range []struct{ name, raw string }{{"from", from}, {"to", to}} {
				if err := barge.CheckMetadata(end.raw); err != nil {
					return usagef("--%s: %w", end.name, err)
				}
			}
			return a.runMetadataCopy(cmd.Context(), at, barge.CopyConfig{From: from, To: to, Force: force})
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "`engine` where the log lies: bucket, or the URL of a database")
	cmd.Flags().StringVar(&to, "to", "", "`engine` where it shall lie")
	cmd.Flags().BoolVar(&force, "force", false, "take agents whose sessions are open for dead, and fence them")
	a.registerStore(cmd.Flags(), &at)
	return cmd
}

func (a *app) runMetadataCopy(ctx context.Context, at storeFlag, cfg barge.CopyConfig) error {
	bare, err := barge.OpenStore(ctx, string(at), false, a.env, a.now)
	if err != nil {
		return err
	}
	cfg.Store, cfg.Bare = a.withRetry(bare), bare
	if cfg.Cluster, err = readCluster(ctx, cfg.Store); err != nil {
		return err
	}
	cfg.IDs, cfg.Now, cfg.Logger = randomID, a.now, slog.New(slog.DiscardHandler)
	done, err := barge.CopyLog(ctx, cfg)
	if errors.Is(err, barge.ErrLogInUse) && !cfg.Force {
		return fmt.Errorf("%w (--force fences it)", err)
	}
	if err != nil {
		return err
	}
	if done.Already {
		tell(a.stdout, "the metadata log of cluster %s lies in %s already\n", cfg.Cluster, done.Place)
		return nil
	}
	tell(a.stdout, "copied %d entries; the metadata log of cluster %s goes on with entry %d in %s\n", done.Entries, cfg.Cluster, done.Next, done.Place)
	if done.Sealed > 0 {
		tell(a.stdout, "%d sessions were open: whoever holds one is fenced\n", done.Sealed)
	}
	tell(a.stdout, "start agents with --metadata %s\n", barge.RedactMetadata(cfg.To))
	return nil
}

func (a *app) metadataAcceptLossCommand() *cobra.Command {
	var at storeFlag
	var logAt metadataFlag
	var yes bool
	cmd := &cobra.Command{
		Use:   "accept-loss",
		Short: "Tell what an older copy of the database has lost, and with --yes go on without it",
		Long: `Agents refuse a database that lies before what they had acknowledged: an old backup of it was brought back, or a standby took over that had
not received everything. The way out is the newer database. Only if there is none, this command lets agents start on what is left.

The danger: records that were acknowledged after that point are lost. Their offsets are given out again, to other records, so consumers and the
tables may hold what the log has forgotten beside what it says now. Commits of groups and changes of topics since then are lost, too. Afterwards
run 'barge fsck', and reset consumers that were further than the log. Without --yes nothing is changed.`,
		Example: `  barge metadata accept-loss --store file:///var/lib/barge --metadata postgres://barge@db/barge`,
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			rawMetadata, err := a.metadata(cmd, logAt)
			if err != nil {
				return err
			}
			return a.runAcceptLoss(cmd.Context(), at, rawMetadata, yes)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it: what is lost stays lost")
	a.registerStore(cmd.Flags(), &at)
	a.registerMetadata(cmd.Flags(), &logAt)
	return cmd
}

func (a *app) runAcceptLoss(ctx context.Context, at storeFlag, rawMetadata string, yes bool) error {
	store, err := a.openStore(ctx, at)
	if err != nil {
		return err
	}
	log, err := a.openLog(ctx, store, rawMetadata)
	if err != nil {
		return err
	}
	defer log.Close()
	lost, err := log.Lost(ctx)
	if err != nil {
		return err
	}
	if len(lost) == 0 {
		tell(a.stdout, "nothing that the store knows of is missing from the log in %s\n", log.Place())
		return nil
	}
	for _, x := range lost {
		tell(a.stdout, "%s\n", x)
	}
	if !yes {
		return errors.New("nothing was changed: bring back a newer copy of the database, or add --yes to go on without what is lost")
	}
	if err := log.AcceptLoss(ctx, lost); err != nil {
		return err
	}
	tell(a.stdout, "accepted: agents start on what is left, and append in the place of what is lost\n")
	return nil
}

// readCluster is the id of the cluster that a store belongs to.
func readCluster(ctx context.Context, store interface {
	Get(ctx context.Context, key string, maxBytes int64) ([]byte, error)
},
) (string, error) {
	body, err := store.Get(ctx, metadata.ClusterKey, metadata.MaxClusterBytes)
	if err != nil {
		return "", fmt.Errorf("which cluster the store belongs to: %w", err)
	}
	cluster, err := metadata.ParseCluster(body)
	return cluster.ID, err
}
