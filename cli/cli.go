package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitConfig = 78 // EX_CONFIG of sysexits.h, what service managers take for "restarting will not help"
)

// usageError is a command line that cannot be understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// configError is a setting with a value that cannot work, or a settings file that cannot be read.
type configError struct{ error }

func (e configError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// app is what all verbs share.
type app struct {
	program string // as it was called, for commands to paste
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	environ []string
	now     func() time.Time
}

// Main runs the verb that args name; args[0] is the program as it was called, environ has the form of os.Environ. It returns the
// exit status. The end of ctx asks the verb to finish: an agent drains, a consumer stops, a producer sends what it has read.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, environ []string) int {
	a := &app{program: "barge", stdin: stdin, stdout: stdout, stderr: stderr, environ: environ, now: time.Now}
	if len(args) > 0 {
		if strings.ContainsRune(args[0], os.PathSeparator) {
			a.program = args[0]
		}
		args = args[1:]
	}
	root := a.root() //nolint:contextcheck // each verb gets ctx from ExecuteContextC
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if isFindings(err) {
		return exitFailed // they have been told, on standard output
	}
	for line := range strings.Lines(err.Error()) {
		tell(stderr, "%s: %s\n", cmd.CommandPath(), strings.TrimRight(line, "\n"))
	}
	if _, ok := errors.AsType[usageError](err); ok {
		tell(stderr, "Run '%s --help' for what it takes.\n", cmd.CommandPath())
		return exitUsage
	}
	if _, ok := errors.AsType[configError](err); ok {
		return exitConfig
	}
	return exitFailed
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "barge",
		Short: "Kafka in, object storage and Delta tables out",
		Long: `Barge speaks the Kafka protocol, writes what producers send straight to object storage, and compacts it
into Parquet files that are at once a Delta Lake table and the log that consumers replay.

Start with: barge demo`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          needVerb,
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(a.demoCommand(), a.agentCommand(), a.produceCommand(), a.consumeCommand(), a.topicCommand(), a.tableCommand(), a.metadataCommand(), a.fsckCommand(), a.benchCommand(), a.versionCommand())
	return root
}

// needVerb is what a command does that only has verbs under it.
func needVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return usagef("unknown command %q%s", args[0], didYouMean(args[0], names, ""))
}

// group makes a command that only has verbs under it.
func group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: needVerb,
		// A wrong verb is named as such, and not by the flags that belong to the verb that was meant.
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
	}
	cmd.AddCommand(verbs...)
	return cmd
}

// exactly wants one argument for each name.
func exactly(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usagef("%s is missing", names[len(args)])
		case len(args) > len(names):
			return usagef("%q is one argument too many", args[len(names)])
		}
		return nil
	}
}

// env returns the value of an environment variable, "" when there is none.
func (a *app) env(name string) string { return lookup(a.environ, name) }

// isTerminal tells whether somebody sits in front of w.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
