package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bargedata/barge"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/tableflow"
	"github.com/bargedata/barge/tableflow/delta"
)

// tablesPrefix is where tables lie in a store.
const tablesPrefix = "tables/"

func (a *app) tableCommand() *cobra.Command {
	return group("table", "List, describe and read the Delta tables of a store; needs no agent",
		a.tableListCommand(), a.tableDescribeCommand(), a.tableHeadCommand())
}

// storeFlag is --store of the verbs that read the store itself.
type storeFlag string

func (a *app) registerStore(flags *pflag.FlagSet, s *storeFlag) {
	flags.StringVar((*string)(s), "store", cmp.Or(a.env("BARGE_STORE"), barge.DefaultConfig().Store), "`url` of the store, as the agent's; also BARGE_STORE")
}

// metadataFlag is --metadata of the verbs that read the metadata log themselves.
type metadataFlag string

func (a *app) registerMetadata(flags *pflag.FlagSet, m *metadataFlag) {
	flags.StringVar((*string)(m), "metadata", barge.MetadataBucket, "`engine` of the metadata log, as the agent's; also BARGE_METADATA, which may hold a password")
}

// metadata is what the flag says, or else the variable: as the flag's default, the help would tell its password.
func (a *app) metadata(cmd *cobra.Command, m metadataFlag) (string, error) {
	raw, origin := string(m), "flag --metadata"
	if env := a.env("BARGE_METADATA"); env != "" && !cmd.Flags().Changed("metadata") {
		raw, origin = env, "environment BARGE_METADATA"
	}
	if err := barge.CheckMetadata(raw); err != nil {
		return "", configError{fmt.Errorf("metadata (%s): %w", origin, err)}
	}
	return raw, nil
}

// openLog opens the metadata log of the cluster that the store belongs to, without making one.
func (a *app) openLog(ctx context.Context, store objectstore.Store, rawMetadata string) (*barge.OpenedLog, error) {
	cluster, err := readCluster(ctx, store)
	if err != nil {
		return nil, err
	}
	return barge.OpenLog(ctx, barge.LogConfig{
		Metadata: rawMetadata, Store: store, Cluster: cluster, IDs: randomID, Now: a.now, Logger: slog.New(slog.DiscardHandler),
	})
}

// open opens the store for reading. Transient faults of a server are retried, at most 60 s.
func (a *app) openStore(ctx context.Context, s storeFlag) (objectstore.Store, error) {
	store, err := barge.OpenStore(ctx, string(s), false, a.env, a.now)
	if err != nil {
		return nil, err
	}
	return a.withRetry(store), nil
}

func (a *app) withRetry(store objectstore.Store) objectstore.Store {
	rng := rand.New(rand.NewPCG(uint64(a.now().UnixNano()), 0)) // only for the waits between retries
	return objectstore.WithRetry(store, objectstore.RetryConfig{}, a.now, rng, slog.New(slog.DiscardHandler))
}

// tableNames lists the directories under tables/, without listing what is in them.
func tableNames(ctx context.Context, store objectstore.Store) ([]string, error) {
	var names []string
	for after := ""; ; {
		objects, err := store.List(ctx, tablesPrefix, after, 1)
		if err != nil {
			return nil, fmt.Errorf("list the tables: %w", err)
		}
		if len(objects) == 0 {
			return names, nil
		}
		name, _, ok := strings.Cut(strings.TrimPrefix(objects[0].Key, tablesPrefix), "/")
		if !ok { // an object beside the tables, not ours
			after = objects[0].Key
			continue
		}
		names = append(names, name)
		after = tablesPrefix + name + "0" // the byte after the slash: past all keys of this table
	}
}

// tableRow is a table in a list. Topic is the name of its directory, which of a topic created anew beside a kept table
// carries the topic id.
type tableRow struct {
	Topic   string `json:"topic"`
	Version int64  `json:"version"`
	Rows    int64  `json:"rows"`
	Files   int    `json:"files"`
	Bytes   int64  `json:"bytes"`
}

func newTableRow(topic string, s *delta.Snapshot) (tableRow, error) {
	r := tableRow{Topic: topic, Version: s.Version}
	for _, add := range s.Adds() {
		rows, err := fileRows(add)
		if err != nil {
			return r, fmt.Errorf("table %s: %w", topic, err)
		}
		r.Rows += rows
		r.Files++
		r.Bytes += add.Size
	}
	return r, nil
}

// fileRows reads the row count out of a file's statistics.
func fileRows(add delta.Add) (int64, error) {
	var stats struct {
		NumRecords *int64 `json:"numRecords"`
	}
	if err := json.Unmarshal([]byte(add.Stats), &stats); err != nil || stats.NumRecords == nil {
		return 0, fmt.Errorf("file %s has no row count in the Delta log", add.Path)
	}
	return *stats.NumRecords, nil
}

// loadTable reads the newest version of a topic's table.
func (a *app) loadTable(ctx context.Context, store objectstore.Store, topic string) (*delta.Snapshot, error) {
	if strings.ContainsRune(topic, '/') || objectstore.ValidKey(tablesPrefix+topic) != nil {
		return nil, fmt.Errorf("%q cannot be the name of a topic", topic)
	}
	s, err := delta.NewLog(store, tablesPrefix+topic, a.now).Load(ctx)
	if errors.Is(err, delta.ErrNoTable) {
		names, _ := tableNames(ctx, store) // only for the hint
		return nil, fmt.Errorf("topic %q has no table in this store%s", topic, didYouMean(topic, names, ""))
	}
	return s, err
}

func (a *app) tableListCommand() *cobra.Command {
	var out outputFlag
	var at storeFlag
	cmd := &cobra.Command{
		Use: "list", Short: "List the tables of a store", Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			store, err := a.openStore(ctx, at)
			if err != nil {
				return err
			}
			names, err := tableNames(ctx, store)
			if err != nil {
				return err
			}
			slices.Sort(names) // keys sort a-b before a
			rows := []tableRow{}
			var cells [][]string
			for _, name := range names {
				s, err := delta.NewLog(store, tablesPrefix+name, a.now).Load(ctx)
				if errors.Is(err, delta.ErrNoTable) {
					continue // a topic with files and no table
				}
				if err != nil {
					return err
				}
				r, err := newTableRow(name, s)
				if err != nil {
					return err
				}
				rows = append(rows, r)
				cells = append(cells, []string{r.Topic, strconv.FormatInt(r.Version, 10), strconv.FormatInt(r.Rows, 10), strconv.Itoa(r.Files), strconv.FormatInt(r.Bytes, 10)})
			}
			if out.json() {
				return a.writeJSON(rows)
			}
			return a.writeTable([]string{"TOPIC", "VERSION", "ROWS", "FILES", "BYTES"}, cells)
		},
	}
	a.registerStore(cmd.Flags(), &at)
	out.register(cmd.Flags())
	return cmd
}

// tableDescription is what describe tells.
type tableDescription struct {
	tableRow
	Path           string            `json:"path"`
	ID             string            `json:"id"`
	Committed      string            `json:"committed,omitempty"`
	ReaderVersion  int32             `json:"reader_version"`
	WriterVersion  int32             `json:"writer_version"`
	WriterFeatures []string          `json:"writer_features,omitempty"`
	Properties     map[string]string `json:"properties"`
	Progress       map[string]int64  `json:"progress"` // application id to version: exclusive end offsets of partitions, and the log entry
	Schema         json.RawMessage   `json:"schema"`
}

func (a *app) tableDescribeCommand() *cobra.Command {
	var out outputFlag
	var at storeFlag
	cmd := &cobra.Command{
		Use: "describe TOPIC", Short: "Show a table's version, progress, properties and columns", Args: exactly("TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := a.openStore(cmd.Context(), at)
			if err != nil {
				return err
			}
			s, err := a.loadTable(cmd.Context(), store, args[0])
			if err != nil {
				return err
			}
			d, err := describeTable(args[0], s)
			if err != nil {
				return err
			}
			if out.json() {
				return a.writeJSON(d)
			}
			return a.printTable(d)
		},
	}
	a.registerStore(cmd.Flags(), &at)
	out.register(cmd.Flags())
	return cmd
}

func describeTable(topic string, s *delta.Snapshot) (tableDescription, error) {
	row, err := newTableRow(topic, s)
	if err != nil {
		return tableDescription{}, err
	}
	d := tableDescription{
		tableRow: row, Path: tablesPrefix + topic, ID: s.Metadata.ID,
		ReaderVersion: s.Protocol.MinReaderVersion, WriterVersion: s.Protocol.MinWriterVersion, WriterFeatures: s.Protocol.WriterFeatures,
		Properties: s.Metadata.Configuration, Progress: map[string]int64{}, Schema: json.RawMessage(s.Metadata.SchemaString),
	}
	if s.InCommitTimestamp > 0 {
		d.Committed = time.UnixMilli(s.InCommitTimestamp).UTC().Format(time.RFC3339)
	}
	for _, t := range s.Txns() {
		d.Progress[t.AppID] = t.Version
	}
	if !json.Valid(d.Schema) {
		return d, fmt.Errorf("table %s: the schema in the Delta log is not JSON", topic)
	}
	return d, nil
}

func (a *app) printTable(d tableDescription) error {
	tell(a.stdout, "table %s at %s, version %d", d.Topic, d.Path, d.Version)
	if d.Committed != "" {
		tell(a.stdout, " of %s", d.Committed)
	}
	tell(a.stdout, "\n%s rows in %d files, %s\n", humanCount(d.Rows), d.Files, humanSize(d.Bytes))
	tell(a.stdout, "id %s, reader version %d, writer version %d %s\n", d.ID, d.ReaderVersion, d.WriterVersion, strings.Join(d.WriterFeatures, ","))
	var schema struct {
		Fields []struct {
			Name string          `json:"name"`
			Type json.RawMessage `json:"type"`
		} `json:"fields"`
	}
	if err := json.Unmarshal(d.Schema, &schema); err != nil {
		return fmt.Errorf("table %s: the schema in the Delta log: %w", d.Topic, err)
	}
	var cells [][]string
	for _, f := range schema.Fields {
		kind := strings.Trim(string(f.Type), `"`)
		if strings.HasPrefix(kind, "{") {
			var nested struct {
				Type string `json:"type"`
			}
			if err := json.Unmarshal(f.Type, &nested); err == nil {
				kind = nested.Type
			}
		}
		cells = append(cells, []string{f.Name, kind})
	}
	if err := a.writeTable([]string{"COLUMN", "TYPE"}, cells); err != nil {
		return err
	}
	cells = nil
	for _, app := range slices.Sorted(maps.Keys(d.Progress)) {
		cells = append(cells, []string{app, strconv.FormatInt(d.Progress[app], 10)})
	}
	if err := a.writeTable([]string{"PROGRESS", "UP-TO"}, cells); err != nil {
		return err
	}
	cells = nil
	for _, name := range slices.Sorted(maps.Keys(d.Properties)) {
		cells = append(cells, []string{name, d.Properties[name]})
	}
	return a.writeTable([]string{"PROPERTY", "VALUE"}, cells)
}

func (a *app) tableHeadCommand() *cobra.Command {
	var out outputFlag
	var at storeFlag
	var n int
	cmd := &cobra.Command{
		Use: "head TOPIC", Short: "Show rows of a table, the oldest files first", Args: exactly("TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if n < 0 {
				return usagef("-n %d: want 0 or more", n)
			}
			store, err := a.openStore(cmd.Context(), at)
			if err != nil {
				return err
			}
			s, err := a.loadTable(cmd.Context(), store, args[0])
			if err != nil {
				return err
			}
			rows, err := headRows(cmd.Context(), store, args[0], s, n)
			if err != nil {
				return err
			}
			return a.printRows(rows, out.json())
		},
	}
	cmd.Flags().IntVarP(&n, "number", "n", 10, "`rows` to show")
	a.registerStore(cmd.Flags(), &at)
	out.register(cmd.Flags())
	return cmd
}

// headRows reads the first n rows of a table's files, in the order in which they were written.
func headRows(ctx context.Context, store objectstore.Store, topic string, s *delta.Snapshot, n int) ([]tableflow.Row, error) {
	adds := s.Adds()
	slices.SortStableFunc(adds, func(x, y delta.Add) int { return cmp.Compare(x.ModificationTime, y.ModificationTime) })
	var rows []tableflow.Row
	for _, add := range adds {
		if len(rows) >= n {
			break
		}
		path, err := url.PathUnescape(add.Path)
		if err != nil {
			return nil, fmt.Errorf("table %s: path %q: %w", topic, add.Path, err)
		}
		f, err := tableflow.OpenFile(ctx, store, tablesPrefix+topic+"/"+path, add.Size)
		if err != nil {
			return nil, err
		}
		more, err := f.Head(ctx, n-len(rows))
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}
