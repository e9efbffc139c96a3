package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"slices"

	"sluice/frames/client"
	"sluice/stages/defend/host"
	"sluice/stages/defend/ledger"
	"sluice/stages/dispatch/methods/system"
	"sluice/storage"
	"sluice/storage/config"

	"github.com/go-json-experiment/json"
)

// defenceAt is where a command reaches the defender's state: through the gateway that runs
// on a state folder, or, when none does, in the folder itself.
type defenceAt struct {
	loc     location
	snap    *config.Snapshot
	running *runningGateway
}

// locateDefence asks whether a gateway runs.
func locateDefence(ctx context.Context, at *place, p *process) (*defenceAt, error) {
	loc, snap, err := at.load(p)
	if err != nil {
		return nil, err
	}
	return &defenceAt{loc, snap, findGateway(ctx, loc, snap)}, nil
}

// online reports whether the gateway of this folder runs.
func (d *defenceAt) online() bool { return d.running.ours(d.loc.state) }

// call calls a method of the running gateway and decodes the answer into out.
func (d *defenceAt) call(ctx context.Context, method string, params, out any) error {
	cfg := section[gatewayConfig](d.snap, "gateway")
	opt := client.Default()
	opt.Auth = localSecret(d.loc, cfg.Auth)
	var err error
	if opt.URL, err = localURL(cfg.Listen); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, defaultCallTimeout, fmt.Errorf("no answer within %s", defaultCallTimeout))
	defer cancel()
	c, err := client.Dial(ctx, opt)
	if err != nil {
		return describe(err, method, opt.URL)
	}
	defer c.Close()
	payload, err := c.Call(ctx, method, params)
	if err != nil {
		return describe(err, method, opt.URL)
	}
	return unmarshalLax(payload, out)
}

// errNoState says that no gateway has ever run here.
var errNoState = errors.New("no gateway has run with this state folder yet; the first start of one makes the baseline and the ledger")

// open opens the ledger and, with hosts, the store and the guard of the host's files, as the
// gateway would. Files that this command would protect and the gateway does not, or the
// other way round, change nothing: the roots are those of the stored baseline.
func (d *defenceAt) open(ctx context.Context, hosts bool) (g *Gateway, err error) {
	if !exists(ledgerDir(d.loc)) {
		return nil, fmt.Errorf("%s: %w", d.loc.state, errNoState)
	}
	g = &Gateway{loc: d.loc, log: slog.New(slog.DiscardHandler), stability: system.NewStability(),
		token: readSecret(d.loc.state, tokenFile), secret: readSecret(d.loc.state, secretFile)}
	defer func() {
		if err != nil {
			d.shut(g)
			g, err = nil, d.held(err)
		}
	}()
	if err := g.openLedger(d.snap); err != nil || !hosts {
		return g, err
	}
	if path := (&doctor{loc: d.loc, snap: d.snap}).storePath(); !exists(path) {
		return g, fmt.Errorf("%s: %w", path, errNoState)
	}
	if g.store, g.path, err = openStore(d.loc, d.snap); err != nil {
		return g, err
	}
	files, err := g.storedRoots(ctx, d.snap)
	if err != nil {
		return g, err
	}
	cfg := section[host.Config](d.snap, "defend.host")
	cfg.Paths = nil // those in force are among the stored ones
	return g, g.openHost(ctx, cfg, files)
}

// storedRoots are the paths of the stored baseline, named as far as their names are known.
func (g *Gateway) storedRoots(ctx context.Context, snap *config.Snapshot) ([]host.Protected, error) {
	raw, err := metaState{g}.Get(ctx, host.Key)
	if err != nil {
		return nil, err
	}
	if raw == nil {
		return nil, errNoState
	}
	known := g.protected(snap)
	var base struct {
		Roots []string `json:"roots"`
	}
	if json.Unmarshal(raw, &base) != nil {
		return known, nil // damaged: the guard says so
	}
	list := make([]host.Protected, len(base.Roots))
	for i, path := range base.Roots {
		list[i] = host.Protected{Name: "a protected path", Path: path}
		if k := slices.IndexFunc(known, func(p host.Protected) bool { return p.Path == path }); k >= 0 {
			list[i].Name = known[k].Name
		}
	}
	return list, nil
}

// held says what to do when another process holds the state.
func (d *defenceAt) held(err error) error {
	if !errors.Is(err, ledger.ErrInUse) && !errors.Is(err, storage.ErrLocked) {
		return err
	}
	listen := section[gatewayConfig](d.snap, "gateway").Listen
	if d.running != nil && d.running.err != nil {
		return fmt.Errorf("%w\n  the gateway at %s does not answer us: %w", err, listen, d.running.err)
	}
	return fmt.Errorf("%w\n  no gateway of this state folder answers at %s; if it listens elsewhere, give the configuration that it was started with (--config, SLUICE_GATEWAY_LISTEN)", err, listen)
}

// shut closes what open has opened.
func (d *defenceAt) shut(g *Gateway) {
	_ = errors.Join(g.closeDefence(context.Background())...) // reads are done, writes are durable
	if g.store != nil {
		_ = g.store.Close()
	}
}

// localName is who works on the state folder when no gateway does.
func localName() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return "local:" + filepath.Base(u.Username)
	}
	return fmt.Sprintf("local:uid %d", os.Getuid())
}
