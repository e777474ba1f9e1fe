package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// buildVersion is what the Go toolchain recorded about this binary.
type buildVersion struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Modified bool   `json:"modified"` // built from a checkout with changes of its own
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func readVersion() buildVersion {
	v := buildVersion{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func (v buildVersion) String() string {
	s := v.Version
	if v.Commit != "" {
		s += " commit " + v.Commit[:min(12, len(v.Commit))]
	}
	if v.Modified {
		s += " modified"
	}
	return s
}

func (a *app) versionCommand() *cobra.Command {
	var out outputFlag
	cmd := &cobra.Command{
		Use: "version", Short: "Tell the version, the commit and the platform of this binary", Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			v := readVersion()
			if out.json() {
				return a.writeJSON(v)
			}
			_, err := fmt.Fprintf(a.stdout, "barge %s %s %s\n", v, v.Go, v.Platform)
			return err
		},
	}
	out.register(cmd.Flags())
	return cmd
}
