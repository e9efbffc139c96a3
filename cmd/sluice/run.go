package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"sluice/bench"

	"github.com/spf13/cobra"
)

// Version is the build's version; `go build -ldflags "-X main.Version=…"` sets it.
var Version = "0.1.0"

// process is what a command needs of its surroundings, so that tests can run any.
type process struct {
	environ []string
	in      io.Reader
	out     io.Writer
	err     io.Writer
}

// exitError is an error whose exit status is not 1.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// Run is the whole program: it returns the exit status and never calls os.Exit.
func Run(ctx context.Context, args, environ []string, in io.Reader, out, errOut io.Writer) int {
	p := &process{environ: environ, in: in, out: out, err: errOut}
	root := newRoot(p)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var exit *exitError
	if errors.As(err, &exit) {
		if exit.err != nil && exit.err.Error() != "" {
			fmt.Fprintln(errOut, "sluice:", exit.err)
		}
		return exit.code
	}
	fmt.Fprintln(errOut, "sluice:", err)
	return 1
}

func newRoot(p *process) *cobra.Command {
	root := &cobra.Command{
		Use:           "sluice",
		Short:         "A gateway for AI assistants that speaks the OpenClaw Gateway protocol",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       Version,
	}
	root.AddCommand(
		newServeCommand(p),
		newCallCommand(p),
		newMethodsCommand(p),
		newConfigCommand(p),
		newReplayCommand(p),
		newScanCommand(p),
		newLedgerCommand(p),
		newIntegrityCommand(p),
		newDoctorCommand(p),
		newVersionCommand(p),
		bench.Command(),
	)
	return root
}
