package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"sluice/stages/defend/host"

	"github.com/spf13/cobra"
)

// integrityAnswer is the payload of sluice.integrity.status and accept.
type integrityAnswer struct {
	Integrity host.Status `json:"integrity"`
	Entry     uint64      `json:"ledgerEntry,omitzero"`
	Unnoted   string      `json:"unnoted,omitzero"`
}

func newIntegrityCommand(p *process) *cobra.Command {
	cmd := newIntegrityStatusCommand(p)
	cmd.Use = "integrity"
	cmd.Short = "Compare the host's files with their baseline, or accept them as they are"
	cmd.Long = "The running binary, the configuration, the policy and the paths of defend.host.paths are held to a baseline of\n" +
		"SHA-256 hashes. A difference raises an alert, which stands until an operator accepts the files as they are;\n" +
		"meanwhile every action gets more risk. Without a command, the same as status.\n\n" +
		"While a gateway runs, it is asked (as an operator with operator.admin); otherwise the state folder is opened."
	cmd.AddCommand(newIntegrityStatusCommand(p), newIntegrityAcceptCommand(p))
	return cmd
}

func newIntegrityStatusCommand(p *process) *cobra.Command {
	var at place
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Check the files now; exit status 3 while an alert stands or files cannot be checked",
		Long:  "Check the files now. That an alert was shown is noted in the ledger.",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := locateDefence(cmd.Context(), &at, p)
			if err != nil {
				return err
			}
			a, err := d.integrity(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(p.out, a)
			} else {
				err = writeIntegrity(p.out, &a)
			}
			if err == nil && (a.Integrity.Alert || len(a.Integrity.Errors) > 0) {
				err = &exitError{code: exitFound, err: errors.New("")}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	at.flags(cmd)
	cmd.SetFlagErrorFunc(badFlag)
	return cmd
}

func newIntegrityAcceptCommand(p *process) *cobra.Command {
	var at place
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "accept",
		Short: "Take the files as they are for the new baseline and end the alert",
		Long: "Take the files as they are now for the new baseline, end the alert, and note in the ledger who did so. Nothing is\n" +
			"accepted while a file cannot be read. Look at `sluice integrity status` first: what is accepted is not\n" +
			"reported again.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := locateDefence(cmd.Context(), &at, p)
			if err != nil {
				return err
			}
			a, err := d.accept(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(p.out, a)
			}
			return writeIntegrity(p.out, &a)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	at.flags(cmd)
	cmd.SetFlagErrorFunc(badFlag)
	return cmd
}

// integrity checks the files now; an alert that is shown is noted in the ledger.
func (d *defenceAt) integrity(ctx context.Context) (a integrityAnswer, err error) {
	if d.online() {
		err = d.call(ctx, "sluice.integrity.status", map[string]any{"shown": true}, &a)
		return a, err
	}
	if !section[host.Config](d.snap, "defend.host").Enabled {
		return a, nil
	}
	g, err := d.open(ctx, true)
	if err != nil {
		return a, err
	}
	defer d.shut(g)
	if a.Integrity = g.defence.host.Status(); a.Integrity.Alert {
		if a.Entry, err = g.alertShown(ctx, localName()); err != nil {
			a.Unnoted = err.Error()
		}
	}
	return a, nil
}

func (d *defenceAt) accept(ctx context.Context) (a integrityAnswer, err error) {
	if d.online() {
		err = d.call(ctx, "sluice.integrity.accept", struct{}{}, &a)
		return a, err
	}
	g, err := d.open(ctx, true)
	if err != nil {
		return a, err
	}
	defer d.shut(g)
	a.Integrity, err = g.defence.host.Accept(ctx, localName())
	return a, err
}

// note says whether the ledger knows that the alert was shown.
func (a *integrityAnswer) note() string {
	switch {
	case a.Unnoted != "":
		return "NOT noted in the ledger: " + a.Unnoted
	case a.Entry > 0:
		return fmt.Sprintf("noted in the ledger as entry %d", a.Entry)
	}
	return ""
}

func writeIntegrity(w io.Writer, a *integrityAnswer) error {
	s := &a.Integrity
	if !s.Enabled {
		_, err := fmt.Fprintln(w, "the host's files are not checked (defend.host.enabled is false)")
		return err
	}
	if s.Alert {
		fmt.Fprintf(w, "ALERT since %s: nobody has accepted these changes\n", entryTime(s.SinceMs))
	}
	for _, c := range s.Changes {
		fmt.Fprintf(w, "  %s  %s (%s)\n", entryTime(c.AtMs), visible(c.String()), firstOf(c.Name, "the baseline"))
	}
	for _, text := range s.Errors {
		fmt.Fprintf(w, "cannot be checked: %s\n", visible(text))
	}
	state := "as the baseline says"
	if s.Alert || len(s.Errors) > 0 {
		state = "of the baseline"
	}
	fmt.Fprintf(w, "%s %s", count(s.Files, "file"), state)
	if s.Missing > 0 {
		fmt.Fprintf(w, " (%d of them missing)", s.Missing)
	}
	fmt.Fprintf(w, ", accepted %s by %s, checked %s\n", entryTime(s.AcceptedMs), visible(firstOf(s.AcceptedBy, "nobody")), time.UnixMilli(s.CheckedMs).Format(time.RFC3339))
	if note := a.note(); note != "" {
		fmt.Fprintln(w, note)
	}
	if s.Alert {
		fmt.Fprintln(w, "-> find out who changed them and why; put them back or, if that was meant, `sluice integrity accept`")
	}
	return nil
}
