package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/stages/defend/ledger"
	"sluice/stages/dispatch/methods/security"

	"github.com/spf13/cobra"
)

func newLedgerCommand(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Look at what the defender decided, check that nobody changed it, release evidence",
		Long: "The ledger is the journal of the defender's decisions, policy changes, approvals and integrity alerts, in the\n" +
			"folder ledger of the state folder. All commands but release only read it, also while a gateway runs.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLedgerListCommand(p), newLedgerShowCommand(p), newLedgerVerifyCommand(p), newLedgerExportCommand(p),
		newLedgerReleaseCommand(p), newLedgerKeygenCommand(p))
	cmd.SetFlagErrorFunc(badFlag)
	return cmd
}

// openLedgerReader opens the journal of the state folder that flags and environment name.
// The configuration does not matter to it, and may be broken.
func openLedgerReader(at *place, p *process) (*ledger.Reader, error) {
	loc, err := locate(at.state, at.config, getenv(p.environ))
	if err != nil {
		return nil, err
	}
	r, err := ledger.OpenReader(ledgerDir(loc))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", loc.state, errNoState)
	}
	return r, err
}

// ledgerFilter are the flags that choose entries.
type ledgerFilter struct {
	kind, action, tag, session, request, since, until string
	after, before                                     uint64
	limit                                             int
	newest                                            bool
}

func (l *ledgerFilter) flags(cmd *cobra.Command, limit int, usage string) {
	f := cmd.Flags()
	f.StringVar(&l.kind, "kind", "", "only entries of `KIND`: decision, policy, approval, integrity or release")
	f.StringVar(&l.action, "action", "", "only entries with this `ACTION`: review, block, accepted, …")
	f.StringVar(&l.tag, "tag", "", "only entries with this `TAG`")
	f.StringVar(&l.session, "session", "", "only entries of the session with this `KEY`")
	f.StringVar(&l.request, "request", "", "only entries of the request or run with this `ID`")
	f.StringVar(&l.since, "since", "", "only entries from this `TIME` on: 2026-01-31, 2026-01-31T10:00:00Z, or 24h (ago)")
	f.StringVar(&l.until, "until", "", "only entries before this `TIME`")
	f.Uint64Var(&l.after, "after", 0, "only entries with a greater number than `SEQ`")
	f.Uint64Var(&l.before, "before", 0, "only entries with a smaller number than `SEQ`")
	f.IntVar(&l.limit, "limit", limit, usage)
}

var ledgerKinds = []string{"", string(ledger.KindDecision), string(ledger.KindPolicy), string(ledger.KindApproval), string(ledger.KindIntegrity), string(ledger.KindRelease)}

func (l *ledgerFilter) filter(now time.Time) (ledger.Filter, error) {
	f := ledger.Filter{Kind: ledger.Kind(l.kind), Action: l.action, Tag: l.tag, SessionKey: l.session, RequestID: l.request,
		AfterSeq: l.after, BeforeSeq: l.before, Limit: l.limit, Newest: l.newest}
	if !slices.Contains(ledgerKinds, l.kind) {
		return f, usage("--kind is %q; decision, policy, approval, integrity or release", l.kind)
	}
	if l.limit < 0 {
		return f, usage("--limit is %d; it must not be negative", l.limit)
	}
	var err error
	if f.SinceMs, err = moment("--since", l.since, now); err != nil {
		return f, err
	}
	f.UntilMs, err = moment("--until", l.until, now)
	return f, err
}

// moment reads a time, or how long ago it was; 0 for none.
func moment(flag, text string, now time.Time) (int64, error) {
	if text == "" {
		return 0, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at.UnixMilli(), nil
		}
	}
	ago, err := time.ParseDuration(text)
	if err != nil || ago < 0 {
		return 0, usage("%s is %q; a time such as 2026-01-31 or 2026-01-31T10:00:00Z, or how long ago, such as 90m or 24h", flag, text)
	}
	return now.Add(-ago).UnixMilli(), nil
}

// maxListed is the most that Reader.List returns.
const maxListed = 10_000

func newLedgerListCommand(p *process) *cobra.Command {
	var at place
	var l ledgerFilter
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List entries; exit status 3 when some could not be read",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := l.filter(time.Now())
			if err != nil {
				return err
			}
			if l.limit < 1 || l.limit > maxListed {
				return usage("--limit is %d; 1 to %d (`sluice ledger export` has no limit)", l.limit, maxListed)
			}
			r, err := openLedgerReader(&at, p)
			if err != nil {
				return err
			}
			defer r.Close()
			entries, err := r.List(cmd.Context(), f)
			if err != nil && !errors.Is(err, ledger.ErrDamaged) {
				return err
			}
			if asJSON {
				if entries == nil {
					entries = []ledger.Entry{}
				}
				return errors.Join(printJSON(p.out, map[string]any{"entries": entries, "damaged": err != nil}), damagedStatus(err))
			}
			return errors.Join(writeEntries(p.out, entries), damagedStatus(err))
		},
	}
	l.flags(cmd, 100, "at most `N` entries, up to 10000")
	cmd.Flags().BoolVar(&l.newest, "newest", false, "the last entries instead of the first; the order stays the same")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	at.flags(cmd)
	cmd.SetFlagErrorFunc(badFlag)
	return cmd
}

// damagedStatus gives ErrDamaged its exit status.
func damagedStatus(err error) error {
	if errors.Is(err, ledger.ErrDamaged) {
		return &exitError{code: exitFound, err: err}
	}
	return err
}

func newLedgerShowCommand(p *process) *cobra.Command {
	var at place
	var keyFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show SEQ",
		Short: "Show one entry, with --key also its encrypted content",
		Args:  exactlyOne("SEQ"),
		RunE: func(cmd *cobra.Command, args []string) error {
			seq, err := entryNumber(args[0])
			if err != nil {
				return err
			}
			r, err := openLedgerReader(&at, p)
			if err != nil {
				return err
			}
			defer r.Close()
			e, err := r.Show(cmd.Context(), seq)
			if err != nil {
				return fmt.Errorf("entry %d: %w", seq, err)
			}
			var content []byte
			if keyFile != "" {
				if content, err = decryptEntry(keyFile, &e); err != nil {
					return err
				}
			}
			if asJSON {
				return printJSON(p.out, struct {
					ledger.Entry
					Decrypted string `json:"contentDecrypted,omitzero"`
				}{e, strings.ToValidUTF8(string(content), "\uFFFD")})
			}
			return writeEntry(p.out, &e, content)
		},
	}
	cmd.Flags().StringVar(&keyFile, "key", "", "`FILE` with the private key for encrypted content (see `sluice ledger keygen`)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	at.flags(cmd)
	cmd.SetFlagErrorFunc(badFlag)
	return cmd
}

func exactlyOne(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usage("%s needs one %s, got %d arguments", cmd.CommandPath(), name, len(args))
		}
		return nil
	}
}

func entryNumber(text string) (uint64, error) {
	seq, err := strconv.ParseUint(text, 10, 64)
	if err != nil || seq == 0 {
		return 0, usage("%q is no number of an entry; `sluice ledger list` shows them", text)
	}
	return seq, nil
}

func decryptEntry(keyFile string, e *ledger.Entry) ([]byte, error) {
	raw, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("--key: %w", err)
	}
	key, err := ledger.ParsePrivateKey(strings.TrimSpace(string(raw)))
	if err != nil {
		return nil, fmt.Errorf("--key: %s: %w", keyFile, err)
	}
	return ledger.Decrypt(key, e)
}

func newLedgerKeygenCommand(p *process) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "keygen --out FILE",
		Short: "Make a key pair for encrypted content",
		Long: "Make a key pair: the private key goes to FILE, readable by you only, and the public one is printed. With\n" +
			"defend.ledger.content \"encrypted\" and the public key as defend.ledger.encryptTo, what was judged can be read\n" +
			"with the private key alone (`sluice ledger show SEQ --key FILE`). Keep it on another machine.",
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if out == "" {
				return usage("keygen needs --out FILE for the private key")
			}
			public, private, err := ledger.GenerateKey()
			if err != nil {
				return err
			}
			if err := writeNew(out, private+"\n"); err != nil {
				return err
			}
			_, err = fmt.Fprintln(p.out, public)
			return err
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "new `FILE` for the private key")
	cmd.SetFlagErrorFunc(badFlag)
	return cmd
}

func newLedgerReleaseCommand(p *process) *cobra.Command {
	var at place
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "release SEQ...",
		Short: "Say where the quarantined evidence of entries is, and note that it was taken",
		Long: "Note in the ledger that you take the evidence of blocked actions out of quarantine, and print where it is.\n" +
			"The files stay as they are. While a gateway runs, it is asked to do so (as an operator with operator.admin).",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("release needs the number of an entry; `sluice ledger list --action block` shows them")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			seqs := make([]uint64, len(args))
			for i, arg := range args {
				var err error
				if seqs[i], err = entryNumber(arg); err != nil {
					return err
				}
			}
			list, err := releaseEvidence(cmd.Context(), &at, p, seqs)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(p.out, map[string]any{"released": list})
			}
			for _, r := range list {
				fmt.Fprintf(p.out, "%d  %s\n", r.Seq, r.Path)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	at.flags(cmd)
	cmd.SetFlagErrorFunc(badFlag)
	return cmd
}

func releaseEvidence(ctx context.Context, at *place, p *process, seqs []uint64) ([]security.Released, error) {
	d, err := locateDefence(ctx, at, p)
	if err != nil {
		return nil, err
	}
	if d.online() {
		var out struct {
			Released []security.Released `json:"released"`
		}
		err := d.call(ctx, "sluice.ledger.release", map[string]any{"entries": seqs}, &out)
		return out.Released, err
	}
	g, err := d.open(ctx, false)
	if err != nil {
		return nil, err
	}
	defer d.shut(g)
	released, err := g.defence.ledger.Release(ctx, localName(), seqs...)
	list := make([]security.Released, len(released))
	for i, r := range released {
		list[i] = security.Released{Seq: r.Seq, Path: filepath.Clean(r.Path)}
	}
	return list, err
}
