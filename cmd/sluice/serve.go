package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
)

// newServeCommand starts the gateway. Every flag is a configuration key; flags win over
// the environment, that over the file.
func newServeCommand(p *process) *cobra.Command {
	var state, configPath string
	flags := map[string]*string{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway",
		Long: "Run the gateway. A first run needs no flag: state is kept in $XDG_STATE_HOME/sluice\n" +
			"(~/.local/state/sluice), a token is made, and it listens on 127.0.0.1:18789.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loc, err := locate(state, configPath, getenv(p.environ))
			if err != nil {
				return err
			}
			values := map[string]string{}
			for key, v := range flags {
				if *v != "" {
					values[key] = *v
				}
			}
			return serve(cmd.Context(), p, gatewayOptions{location: loc, environ: p.environ, flags: values, stderr: p.err})
		},
	}
	cmd.Flags().StringVar(&state, "state", "", "state `DIR`")
	cmd.Flags().StringVar(&configPath, "config", "", "configuration `FILE` (default: sluice.json5 in the state folder)")
	for _, f := range []struct{ name, key, usage string }{
		{"listen", "gateway.listen", "`HOST:PORT` to listen on"},
		{"token", "gateway.auth.token", "`TOKEN` that clients must show (other users of this machine can see it; the token file is safer)"},
		{"auth", "gateway.auth.mode", "`MODE` of authentication: token, password or none"},
		{"control-ui", "gateway.http.controlUi", "`DIR` of a built Control UI"},
		{"log-level", "telemetry.logs.level", "`LEVEL`: debug, info, warn or error"},
	} {
		flags[f.key] = cmd.Flags().String(f.name, "", f.usage)
	}
	return cmd
}

// serve runs a gateway until ctx ends (SIGINT, SIGTERM), then stops it in order.
func serve(ctx context.Context, p *process, opts gatewayOptions) error {
	g, err := newGateway(ctx, opts)
	if err != nil {
		return err
	}
	if err := g.Start(ctx); err != nil {
		stop, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		defer cancel()
		g.Stop(stop)
		return err
	}
	auth := g.auth(g.conf.Current())
	fmt.Fprintf(p.out, "sluice %s listening on ws://%s (auth: %s)\n", Version, g.Addr(), auth.Mode)
	fmt.Fprintf(p.out, "state: %s\n", g.loc.state)
	if auth.Mode == "token" && auth.Secret == g.token {
		note := ""
		if g.made {
			note = " (made now, readable by you only)"
		}
		fmt.Fprintf(p.out, "token: %s%s\n", filepath.Join(g.loc.state, tokenFile), note)
	}
	if err := g.runs.Ready(); err != nil {
		fmt.Fprintf(p.out, "note: %s\n", err.Message)
	}
	fmt.Fprintln(p.out, "ready")
	<-ctx.Done()
	stop, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	return g.Stop(stop)
}
