package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/defend"
	"sluice/stages/defend/approval"
	"sluice/stages/defend/command"
	"sluice/stages/defend/host"
	"sluice/stages/defend/ledger"
	"sluice/stages/defend/policy"
	"sluice/stages/defend/prompt"
	"sluice/stages/defend/reputation"
	"sluice/stages/defend/rules"
	"sluice/stages/defend/secrets"
	"sluice/storage/config"
)

// defence are the defender's parts; what each is for is said in stages/defend/README.md.
type defence struct {
	rules      *rules.Defender
	prompt     *prompt.Defender
	command    *command.Defender
	secrets    *secrets.Defender
	policy     *policy.Policy
	host       *host.Guard
	reputation *reputation.Defender
	ledger     *ledger.Ledger
	broker     *approval.Broker

	bundle bundleFile
	notes  chan struct{} // holds one for each refused message that is being noted
}

// maxNotes is how many refused messages wait for the ledger; more are only logged.
const maxNotes = 64

// ledgerDir is where the ledger is, quarantineDir where the evidence of blocks is.
func ledgerDir(loc location) string { return filepath.Join(loc.state, "ledger") }

func quarantineDir(loc location, cfg defend.Config) string {
	return firstOf(cfg.Quarantine.Dir, filepath.Join(loc.state, "quarantine"))
}

// buildDefence opens the ledger and makes the defenders. What happens while they are
// made (a first baseline, a bundle put in force) is in the ledger already.
func (g *Gateway) buildDefence(ctx context.Context, snap *config.Snapshot) (err error) {
	d := &g.defence
	if err = g.openLedger(snap); err != nil {
		return err
	}
	if err = g.buildPolicy(ctx, snap); err != nil {
		return err
	}
	if err = g.openHost(ctx, section[host.Config](snap, "defend.host"), g.protected(snap)); err != nil {
		return err
	}
	if d.reputation, err = reputation.New(section[reputation.Config](snap, "defend.reputation"), reputation.Deps{Log: g.log,
		Secret: func(text []byte) bool { return len(d.secrets.Scanner().Find(nil, text)) > 0 }}); err != nil {
		return err
	}
	d.broker, err = approval.New(section[approval.Config](snap, "defend.approval"), g.approvalDeps())
	return err
}

// openLedger takes the writer's place of the ledger; the secrets defender redacts for it.
func (g *Gateway) openLedger(snap *config.Snapshot) (err error) {
	d := &g.defence
	d.notes = make(chan struct{}, maxNotes)
	if d.secrets, err = secrets.New(section[secrets.Config](snap, "defend.secrets"), g.ownSecrets(snap)...); err != nil {
		return err
	}
	if d.ledger, err = ledger.Open(ledgerDir(g.loc), section[ledger.Config](snap, "defend.ledger"), ledger.Deps{Redact: d.secrets.Redact,
		QuarantineDir: quarantineDir(g.loc, section[defend.Config](snap, "defend")), Log: g.log}); err != nil {
		return fmt.Errorf("the ledger in %s cannot be opened: %w", ledgerDir(g.loc), err)
	}
	return nil
}

// openHost holds files to the baseline in the store; the ledger must be open.
func (g *Gateway) openHost(ctx context.Context, cfg host.Config, files []host.Protected) (err error) {
	g.defence.host, err = host.New(ctx, cfg, host.Deps{Store: metaState{g}, Files: files, Changed: g.hostChanged, Log: g.log})
	return err
}

func (g *Gateway) buildPolicy(ctx context.Context, snap *config.Snapshot) (err error) {
	cfg := section[policy.Config](snap, "defend.policy")
	g.defence.bundle = bundleFile{path: cfg.Bundle.Path}
	g.defence.bundle.seen()
	g.defence.policy, err = policy.New(ctx, cfg, policy.Deps{State: metaState{g}, Changed: g.policyChanged, Log: g.log,
		Sender: func(a *defend.Action) string { return firstOf(a.Sender, a.SessionKey) }, Model: g.modelOf})
	return err
}

// modelOf is the model that an action's session runs on, for tools.byProvider.
func (g *Gateway) modelOf(*defend.Action) string {
	m := g.runs.Config().Model
	return m.Provider + "/" + m.Name
}

// ownSecrets are the gateway's own: no text with one of them leaves, whatever its shape.
func (g *Gateway) ownSecrets(snap *config.Snapshot) (list [][]byte) {
	for _, s := range []string{g.token, g.secret, g.auth(snap).Secret} {
		if len(s) >= secrets.MinLiteralBytes && len(s) <= secrets.MaxLiteralBytes {
			list = append(list, []byte(s))
		}
	}
	return list
}

// protected are the files that the host guard holds to their baseline.
func (g *Gateway) protected(snap *config.Snapshot) []host.Protected {
	var list []host.Protected
	if exe, err := os.Executable(); err == nil {
		list = append(list, host.Protected{Name: "the running binary", Path: exe})
	}
	list = append(list, host.Protected{Name: "the configuration", Path: g.loc.config})
	if path := section[policy.Config](snap, "defend.policy").Bundle.Path; path != "" {
		list = append(list, host.Protected{Name: "the policy", Path: path})
	}
	return list
}

// defendDeps are what the stage needs of its parts.
func (g *Gateway) defendDeps() defend.Deps {
	d := &g.defence
	return defend.Deps{Resume: g.resume, Broadcaster: g.edge, Log: g.log, Redact: d.secrets.Redact,
		OnFailure: d.policy.OnFailure, Provenance: d.policy, Journal: g.journal, Approve: g.approve}
}

// journal writes a decision above allow into the ledger.
func (g *Gateway) journal(ctx context.Context, r defend.Record) (uint64, error) {
	tags := r.Decision.Tags
	if r.Passed {
		tags = append(tags[:len(tags):len(tags)], "passed")
	}
	e, err := g.defence.ledger.Append(ctx, ledger.Entry{Kind: ledger.KindDecision, Action: r.Decision.Action.String(), Risk: r.Decision.Risk,
		Tags: tags, Reasons: r.Decision.Reasons, Source: strings.TrimSuffix(r.Origin+" "+r.Sender, " "), Method: r.Method,
		SessionKey: r.SessionKey, RequestID: r.RequestID, File: r.File, Content: r.Content})
	return e.Seq, err
}

// recordTimeout is how long whoever notes something in the ledger waits for the disk.
const recordTimeout = 5 * time.Second

// record writes a line that is about no frame; when it cannot be written, the log and
// health say so.
func (g *Gateway) record(ctx context.Context, e ledger.Entry) {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	if _, err := g.defence.ledger.Append(ctx, e); err != nil {
		g.log.Error("an entry is missing in the ledger", "kind", e.Kind, "action", e.Action, "err", err)
	}
}

func (g *Gateway) hostChanged(ctx context.Context, c host.Change) {
	g.record(ctx, ledger.Entry{Kind: ledger.KindIntegrity, Action: c.What, Source: firstOf(c.By, "host"), Reasons: []string{c.String()}})
	g.stability.Add("integrity."+c.What, c.Name)
	if g.health != nil {
		g.health.Changed()
	}
}

// guardConfig takes the configuration into the host's baseline as an operator with
// operator.admin has Sluice write it.
func (g *Gateway) guardConfig(ctx context.Context, by string, write func() error) error {
	err := g.defence.host.AcceptWhile(ctx, by, write, g.loc.config)
	var late *host.AcceptError
	if errors.As(err, &late) {
		g.log.Warn("the host guard could not take over the new configuration; it will raise an alert", "err", err)
		return nil
	}
	return err
}

func (g *Gateway) policyChanged(ctx context.Context, c policy.Change) {
	e := ledger.Entry{Kind: ledger.KindPolicy, Action: "accepted", Source: c.Source, RequestID: c.BundleID, ContentSHA256: c.SHA256}
	if c.Refused != "" {
		e.Action, e.Reasons = "refused", []string{c.Refused}
	}
	g.record(ctx, e)
}

// configChanged notes which protected keys a new configuration changes, never their
// values.
func (g *Gateway) configChanged(old, snap *config.Snapshot) {
	var keys []string
	for _, key := range config.Diff(old, snap) {
		if policy.Protected(key) {
			keys = append(keys, key+" is changed ("+snap.Origin(key).String()+")")
		}
	}
	if len(keys) > 0 {
		g.record(g.ctx, ledger.Entry{Kind: ledger.KindPolicy, Action: "configured", Source: "config", RequestID: snap.Hash, Reasons: keys})
	}
}

// guardDelivery holds a message that is about to leave through a channel to
// defend.secrets: it hides the secrets in it, or refuses it. Its address leaves with it,
// and cannot be changed: a secret in one is refused.
func (g *Gateway) guardDelivery(m *pipeline.Delivery) *frames.Error {
	v := g.defence.secrets.Outbound([]byte(m.Text))
	if v.Action == pipeline.Allow {
		m.Text = string(v.Text)
		if v = g.guardAddress(m); v.Action == pipeline.Allow {
			return nil
		}
	}
	e := ledger.Entry{Kind: ledger.KindDecision, Action: pipeline.Block.String(), Tags: []string{"secret_leaves"}, Source: "outbound", Method: "deliver",
		Reasons: []string{"a message to " + m.Channel + " held " + strings.Join(v.Found, ", ")}, RequestID: m.Key, Content: []byte(m.Text)}
	select {
	case g.defence.notes <- struct{}{}: // the stage's workers do not wait for the disk
		g.goLoop(func(ctx context.Context) {
			defer func() { <-g.defence.notes }()
			g.record(context.WithoutCancel(ctx), e)
		})
	default:
		g.log.Error("an entry is missing in the ledger: the disk is slow", "kind", e.Kind, "action", e.Action)
	}
	return &frames.Error{Code: frames.CodeForbidden, Message: "the message was not sent: it holds a secret (" + strings.Join(v.Found, ", ") +
		"); take it out, or change defend.secrets.outbound"}
}

// guardAddress is the verdict on what goes out beside a message's text: whom it is for,
// and the key by which its receiver knows a repetition. Only what is surely a secret
// counts: such names look random by nature.
func (g *Gateway) guardAddress(m *pipeline.Delivery) secrets.Verdict {
	sure := func(f secrets.Match) bool { return f.Sure }
	for _, part := range []string{m.To, m.ThreadID, m.AccountID, m.Key} {
		if !slices.ContainsFunc(g.defence.secrets.Scanner().Find(nil, []byte(part)), sure) {
			continue
		}
		if v := g.defence.secrets.Outbound([]byte(part)); v.Action > pipeline.Allow || string(v.Text) != part {
			v.Action = pipeline.Block
			return v
		}
	}
	return secrets.Verdict{}
}

// startDefence starts what runs beside the pipeline, which must run already.
func (g *Gateway) startDefence(ctx context.Context) error {
	if err := g.defence.broker.Start(ctx); err != nil {
		return err
	}
	if err := g.defence.host.Start(ctx); err != nil {
		return err
	}
	if err := g.defence.policy.RestoreTaints(ctx); err != nil {
		g.log.Error("after a restart", "err", err)
	}
	g.every(taintSave, g.saveTaints)
	if g.defence.bundle.path != "" {
		g.every(bundlePoll, g.pollBundle)
	}
	return nil
}

// taintSave is how much of what taints sessions a crash may forget.
const taintSave = time.Second

func (g *Gateway) saveTaints(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	if err := g.defence.policy.SaveTaints(ctx); err != nil && ctx.Err() == nil {
		g.log.Warn("a restart now would forget which sessions have read foreign content", "err", err)
	}
}

// closeDefence closes what buildDefence has opened.
func (g *Gateway) closeDefence(ctx context.Context) (errs []error) {
	d := &g.defence
	if d.host != nil {
		errs = append(errs, d.host.Stop(ctx))
	}
	if d.reputation != nil {
		errs = append(errs, d.reputation.Close())
	}
	if d.ledger != nil {
		errs = append(errs, d.ledger.Close())
	}
	return errs
}

// defenceWarnings are what health says about the defender's parts.
func (g *Gateway) defenceWarnings() (w []string) {
	d := &g.defence
	for _, health := range []func() string{d.host.Health, d.ledger.Health, d.policy.Health, d.reputation.Health} {
		if why := health(); why != "" {
			w = append(w, why)
		}
	}
	if g.conf != nil && section[defend.Config](g.conf.Current(), "defend").AuditOnly {
		w = append(w, "defend.auditOnly is on: nothing is stopped, decisions are only recorded")
	}
	return w
}

// bundlePoll is how often the file of a signed policy is looked at.
const bundlePoll = 5 * time.Second

// bundleFile notices when the file of a signed policy was replaced.
type bundleFile struct {
	path string
	mod  time.Time
	size int64
}

// seen reports whether the file is another one than at the last call.
func (b *bundleFile) seen() bool {
	if b.path == "" {
		return false
	}
	info, err := os.Stat(b.path)
	if err != nil || info.ModTime().Equal(b.mod) && info.Size() == b.size {
		return false
	}
	b.mod, b.size = info.ModTime(), info.Size()
	return true
}

// pollBundle puts a replaced bundle in force. Whoever signed it may change policy, so the
// host guard takes the file as it is; one that is refused stays an alert.
func (g *Gateway) pollBundle(ctx context.Context) {
	b := &g.defence.bundle
	if !b.seen() {
		return
	}
	if err := g.defence.policy.LoadBundle(ctx); err != nil {
		g.log.Error("the new policy bundle was refused; the one in force stays", "path", b.path, "err", err)
		return
	}
	g.reloading.Lock()
	g.apply(g.reloadDefence(g.conf.Current())[1:]) // all but the policy, which has it
	g.reloading.Unlock()
	if _, err := g.defence.host.AcceptPaths(ctx, "policy bundle", b.path); err != nil {
		g.log.Warn("the host guard keeps its alert for the new policy bundle", "err", err)
	}
}
