package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"sluice/stages/defend/ledger"

	"github.com/spf13/cobra"
)

func newLedgerVerifyCommand(p *process) *cobra.Command {
	var at place
	var anchors []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check every byte of the ledger; exit status 3 when something was changed, dropped or moved",
		Long: "Check every line of the ledger, that the lines follow each other, and that the first and the last are those that\n" +
			"the gateway noted. Damage is named by file and line.\n\n" +
			"Who can write to the folder can write it anew as a whole, with all hashes. Against that, keep the last line that\n" +
			"this command prints somewhere else, and give it to a later check with --anchor.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			kept, err := parseAnchors(anchors)
			if err != nil {
				return err
			}
			r, err := openLedgerReader(&at, p)
			if err != nil {
				return err
			}
			defer r.Close()
			report, err := r.VerifyAgainst(cmd.Context(), kept, verifyProgress(p.err))
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(p.out, report)
			} else {
				err = writeVerification(p.out, &report)
			}
			if err == nil && !report.OK() {
				err = &exitError{code: exitFound, err: errors.New("the ledger is damaged")}
			}
			return err
		},
	}
	cmd.Flags().StringArrayVar(&anchors, "anchor", nil, "an entry's number and hash that were kept elsewhere, as `SEQ:HASH`; can be given again")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	at.flags(cmd)
	cmd.SetFlagErrorFunc(badFlag)
	return cmd
}

func parseAnchors(texts []string) ([]ledger.Anchor, error) {
	var list []ledger.Anchor
	for _, text := range texts {
		number, hash, ok := strings.Cut(text, ":")
		seq, err := strconv.ParseUint(number, 10, 64)
		if !ok || err != nil || len(hash) != 64 || strings.Trim(hash, "0123456789abcdef") != "" {
			return nil, usage("--anchor is %q; SEQ:HASH as `sluice ledger verify` prints it", text)
		}
		list = append(list, ledger.Anchor{Seq: seq, Hash: hash})
	}
	return list, nil
}

// verifyProgress shows how far the check is to who looks at a terminal.
func verifyProgress(w io.Writer) func(ledger.Progress) {
	if !isTerminal(w) {
		return nil
	}
	return func(p ledger.Progress) {
		fmt.Fprintf(w, "\r%d entries, %d MiB, %s \r", p.Entries, p.Bytes>>20, p.File)
	}
}

func writeVerification(w io.Writer, r *ledger.Report) error {
	for _, problem := range r.Problems {
		fmt.Fprintln(w, visible(problem.String()))
	}
	if r.More > 0 {
		fmt.Fprintf(w, "and %s more\n", count(r.More, "problem"))
	}
	if r.Beyond > 0 {
		fmt.Fprintf(w, "%d sound entries behind the head: written and not acknowledged yet\n", r.Beyond)
	}
	if r.TornBytes > 0 {
		fmt.Fprintf(w, "%d bytes at the end are no whole line: a write that a crash tore, or that is under way\n", r.TornBytes)
	}
	verdict := "nothing was changed"
	if !r.OK() {
		verdict = count(len(r.Problems)+r.More, "problem")
	}
	_, err := fmt.Fprintf(w, "%d entries (%d to %d) in %s, %d bytes: %s\n", r.Entries, r.FirstSeq, r.LastSeq, count(r.Files, "file"), r.Bytes, verdict)
	if err == nil && r.OK() && r.LastSeq > 0 {
		_, err = fmt.Fprintf(w, "keep elsewhere: --anchor %d:%s\n", r.LastSeq, r.LastHash)
	}
	return err
}

func newLedgerExportCommand(p *process) *cobra.Command {
	var at place
	var l ledgerFilter
	var format, out string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write entries as JSON lines or CSV",
		Long:  "Write entries, all of them unless flags choose. When lines of the ledger are damaged, the others are written and\nthe exit status is 3.",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != ledger.FormatJSON && format != ledger.FormatCSV {
				return usage("--format is %q; json or csv", format)
			}
			f, err := l.filter(time.Now())
			if err != nil {
				return err
			}
			r, err := openLedgerReader(&at, p)
			if err != nil {
				return err
			}
			defer r.Close()
			if out == "" || out == "-" {
				return damagedStatus(r.Export(cmd.Context(), p.out, format, f))
			}
			return exportTo(cmd.Context(), r, out, format, f)
		},
	}
	l.flags(cmd, 0, "at most `N` entries; 0 is all")
	cmd.Flags().StringVar(&format, "format", ledger.FormatJSON, "`FORMAT`: json (one entry a line) or csv")
	cmd.Flags().StringVarP(&out, "output", "o", "", "new `FILE`, readable by you only (default: standard output)")
	at.flags(cmd)
	cmd.SetFlagErrorFunc(badFlag)
	return cmd
}

// exportTo writes a new file; on a failure that is not the ledger's damage it leaves none.
func exportTo(ctx context.Context, r *ledger.Reader, path, format string, f ledger.Filter) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there already; remove it, or choose another file", path)
	}
	if err != nil {
		return err
	}
	err = r.Export(ctx, file, format, f)
	damaged := errors.Is(err, ledger.ErrDamaged)
	if cerr := errors.Join(file.Sync(), file.Close()); cerr != nil || err != nil && !damaged {
		os.Remove(path)
		return fmt.Errorf("the export was not written: %w", errors.Join(err, cerr))
	}
	return damagedStatus(err)
}

// writeEntries prints a table of entries.
func writeEntries(w io.Writer, entries []ledger.Entry) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "SEQ\tTIME\tKIND\tACTION\tRISK\tSOURCE\tMETHOD\tTAGS\tREASON")
	for i := range entries {
		e := &entries[i]
		fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", e.Seq, entryTime(e.AtMs), cell(string(e.Kind)), cell(e.Action), e.Risk, clip(cell(e.Source), 24), cell(e.Method),
			cell(strings.Join(e.Tags, ",")), cell(strings.Join(e.Reasons, "; ")))
	}
	return tw.Flush()
}

// cell is a text for a table: short, on one line, "-" for none.
func cell(text string) string {
	const most = 80
	text = clip(visible(strings.NewReplacer("\n", " ", "\t", " ").Replace(text)), most)
	if text == "" {
		return "-"
	}
	return text
}

func entryTime(ms int64) string { return time.UnixMilli(ms).Format("2006-01-02 15:04:05") }

// writeEntry prints one entry in full. content is what was decrypted.
func writeEntry(w io.Writer, e *ledger.Entry, content []byte) error {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-10s %s\n", name, strings.ReplaceAll(strings.TrimRight(visible(value), "\n"), "\n", "\n           "))
		}
	}
	line("entry", strconv.FormatUint(e.Seq, 10))
	line("time", time.UnixMilli(e.AtMs).Format(time.RFC3339Nano))
	line("kind", string(e.Kind))
	line("action", e.Action)
	line("risk", strconv.Itoa(e.Risk))
	line("tags", strings.Join(e.Tags, ", "))
	for _, r := range e.Reasons {
		line("reason", r)
	}
	line("source", e.Source)
	line("method", e.Method)
	line("session", e.SessionKey)
	line("request", e.RequestID)
	line("file", e.File)
	for _, r := range e.Releases {
		line("releases", strconv.FormatUint(r, 10))
	}
	if e.ContentSHA256 != "" {
		line("content", fmt.Sprintf("%d bytes, SHA-256 %s", e.ContentBytes, e.ContentSHA256))
	}
	line("redacted", e.ContentRedacted)
	switch {
	case content != nil:
		line("decrypted", string(content))
	case e.ContentEncrypted != "":
		line("encrypted", "read it with --key FILE")
	}
	line("previous", e.Prev)
	_, err := fmt.Fprintf(w, "%-10s %s\n", "hash", e.Hash)
	return err
}
