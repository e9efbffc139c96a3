package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"sluice/storage/config"

	"github.com/spf13/cobra"
)

// place is where a command that starts no gateway looks for state and configuration.
type place struct{ state, config string }

func (l *place) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&l.state, "state", "", "state `DIR`")
	cmd.Flags().StringVar(&l.config, "config", "", "configuration `FILE` (default: sluice.json5 in the state folder)")
}

// load reads the configuration that `sluice serve` would run with.
func (l *place) load(p *process) (location, *config.Snapshot, error) {
	loc, err := locate(l.state, l.config, getenv(p.environ))
	if err != nil {
		return loc, nil, err
	}
	snap, err := loadConfig(loc, p.environ)
	return loc, snap, err
}

func loadConfig(loc location, environ []string) (*config.Snapshot, error) {
	schema, err := config.NewSchema(sections()...)
	if err != nil {
		return nil, err
	}
	return config.Load(config.Options{Schema: schema, Path: loc.config, MustExist: loc.named,
		Environ: openAIEnv(environ), ReservedEnv: reservedEnv})
}

func newConfigCommand(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Look at the configuration without starting a gateway",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newExplainCommand(p), newCheckCommand(p), newSchemaCommand(p), newMarkdownCommand(p))
	cmd.SetFlagErrorFunc(badFlag)
	return cmd
}

func newExplainCommand(p *process) *cobra.Command {
	var at place
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain [KEY]",
		Short: "Show each value with its source, default and bound",
		Long:  "Show every key of the configuration, or those at and below KEY, with the value in force, where it comes from\n(default, file and line, environment, flag), its default, its bound and its meaning. Secrets are not shown.",
		Args:  atMostOne("KEY"),
		RunE: func(_ *cobra.Command, args []string) error {
			loc, snap, err := at.load(p)
			if err != nil {
				return err
			}
			key := strings.Join(args, "")
			rows := config.Explain(snap, key)
			switch {
			case len(rows) == 0:
				return noSuchKey(loc, key)
			case asJSON:
				return printJSON(p.out, rows)
			case len(rows) == 1:
				return explainOne(p.out, rows[0])
			}
			return config.WriteExplain(p.out, snap, key)
		},
	}
	at.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// explainOne shows one key on several lines: a table of one row is hard to read.
func explainOne(w io.Writer, e config.Entry) error {
	line := func(name string, v any) {
		if text := fmt.Sprint(v); text != "" && v != nil {
			fmt.Fprintf(w, "  %-9s %s\n", name, text)
		}
	}
	fmt.Fprintln(w, e.Key)
	line("meaning", e.Doc)
	line("value", shown(e.Value))
	line("source", e.Source)
	line("default", shown(e.Default))
	line("type", e.Type)
	line("bound", strings.TrimSpace(e.Bound+" "+e.Unit))
	line("reload", map[string]string{config.ReloadHot: "a running gateway obeys a change at once", config.ReloadRestart: "a change needs a restart"}[e.Reload])
	line("variable", e.Env)
	return nil
}

// shown is a value as it would be written in the file; an empty text is visible.
func shown(v any) string {
	switch x := v.(type) {
	case nil:
		return "none"
	case string:
		return fmt.Sprintf("%q", x)
	}
	return fmt.Sprint(v)
}

// noSuchKey names the nearest key. The configuration's own check of a flag knows it.
func noSuchKey(loc location, key string) error {
	schema, err := config.NewSchema(sections()...)
	if err != nil {
		return err
	}
	_, err = config.Load(config.Options{Schema: schema, Path: loc.config, Flags: map[string]string{key: ""}})
	var invalid *config.InvalidError
	if errors.As(err, &invalid) {
		for _, issue := range invalid.Issues {
			if issue.Path == key {
				return fmt.Errorf("%s: %s", key, issue.Message)
			}
		}
	}
	return fmt.Errorf("no key %q; `sluice config explain` lists all", key)
}

func newCheckCommand(p *process) *cobra.Command {
	var at place
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Judge a configuration; exit status 1 with each problem",
		Long:  "Judge FILE, or the configuration that `sluice serve` would read, together with the environment.",
		Args:  atMostOne("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				at.config = args[0]
			}
			loc, snap, err := at.load(p)
			var invalid *config.InvalidError
			if errors.As(err, &invalid) {
				for _, issue := range invalid.Issues {
					fmt.Fprintln(p.out, issue)
				}
				return fmt.Errorf("%s cannot be used: %s", loc.config, count(len(invalid.Issues), "problem"))
			}
			if err != nil {
				return err
			}
			for _, w := range snap.Warnings {
				fmt.Fprintln(p.out, "warning:", w)
			}
			note := ""
			if !snap.Exists {
				note = " (not there: defaults and environment)"
			}
			fmt.Fprintf(p.out, "%s%s: ok\n", loc.config, note)
			return nil
		},
	}
	at.flags(cmd)
	return cmd
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func newSchemaCommand(p *process) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration (for editors)",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			schema, err := config.NewSchema(sections()...)
			if err != nil {
				return err
			}
			return printJSON(p.out, schema.JSONSchema())
		},
	}
}

// newMarkdownCommand prints docs/config.md; a test keeps the two equal.
func newMarkdownCommand(p *process) *cobra.Command {
	return &cobra.Command{
		Use:    "markdown",
		Short:  "Print " + filepath.Join("docs", "config.md"),
		Args:   noArgs,
		Hidden: true,
		RunE: func(*cobra.Command, []string) error {
			schema, err := config.NewSchema(sections()...)
			if err != nil {
				return err
			}
			_, err = io.WriteString(p.out, config.Markdown(schema))
			return err
		},
	}
}

func atMostOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usage("%s takes at most one %s, but got %d; see `%s --help`", cmd.CommandPath(), what, len(args), cmd.CommandPath())
		}
		return nil
	}
}
