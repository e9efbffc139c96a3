package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"sluice/frames"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
)

// buildInfo is what `sluice version` prints.
type buildInfo struct {
	Version  string   `json:"version"`
	Go       string   `json:"go"`
	Platform string   `json:"platform"`
	Revision string   `json:"revision,omitzero"` // of the source; empty for a build outside of a repository
	Modified bool     `json:"modified"`          // the source had changes beyond Revision
	BuiltAt  string   `json:"builtAt,omitzero"`  // the revision's time, RFC 3339
	Protocol []int    `json:"protocol"`          // oldest and newest version that is spoken
	Backends []string `json:"backends"`
}

func readBuildInfo() buildInfo {
	b := buildInfo{Version: Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Protocol: []int{frames.MinProtocolVersion, frames.ProtocolVersion}, Backends: slices.Sorted(maps.Keys(backends))}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		case "vcs.time":
			b.BuiltAt = s.Value
		}
	}
	return b
}

func newVersionCommand(p *process) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this build and what is in it",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			b := readBuildInfo()
			if asJSON {
				return printJSON(p.out, b)
			}
			revision := cmp.Or(b.Revision, "unknown")
			if b.Modified {
				revision += " with changes"
			}
			fmt.Fprintf(p.out, "sluice %s\nrevision %s\n%s %s\nprotocol %d to %d\nbackends %s\n", b.Version, revision, b.Go, b.Platform,
				b.Protocol[0], b.Protocol[1], strings.Join(b.Backends, ", "))
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.SetFlagErrorFunc(badFlag)
	return cmd
}

// printJSON prints v indented, its maps in a fixed order.
func printJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}

// printLine prints v as one line of JSON.
func printLine(w io.Writer, v any) error {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}

// unmarshalLax decodes foreign JSON: what v has no field for is skipped.
func unmarshalLax(b jsontext.Value, v any) error {
	if b == nil {
		return nil
	}
	return json.Unmarshal(b, v)
}

// Exit status 2 means that the command line was wrong, 1 that the work failed.

func usage(format string, args ...any) error {
	return &exitError{code: 2, err: fmt.Errorf(format, args...)}
}

func badFlag(cmd *cobra.Command, err error) error {
	return usage("%v; see `%s --help`", err, cmd.CommandPath())
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%s takes no argument, but got %q; see `%s --help`", cmd.CommandPath(), args[0], cmd.CommandPath())
	}
	return nil
}
