package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sluice/frames/client"
	"sluice/storage"
	"sluice/storage/config"

	"github.com/go-json-experiment/json"
)

// runningGateway is what answers at gateway.listen.
type runningGateway struct {
	version  string
	stateDir string // said to admins only
	warnings []string
	err      error // it speaks the protocol, but refused us
}

// gatewayProbe bounds each step of asking a gateway on this machine.
const gatewayProbe = 3 * time.Second

// findGateway asks at the configured address. nil: nobody speaks the protocol there.
func findGateway(ctx context.Context, loc location, snap *config.Snapshot) *runningGateway {
	cfg := section[gatewayConfig](snap, "gateway")
	address, err := localURL(cfg.Listen)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, gatewayProbe)
	defer cancel()
	opt := client.Default()
	opt.URL, opt.Auth = address, localSecret(loc, cfg.Auth)
	c, err := client.Dial(ctx, opt)
	if err != nil {
		var remote *client.RemoteError
		var closed *client.CloseError
		if errors.As(err, &remote) || errors.As(err, &closed) {
			return &runningGateway{err: err}
		}
		return nil
	}
	defer c.Close()
	g := &runningGateway{version: c.Hello().Server.Version}
	var snapshot struct {
		StateDir string `json:"stateDir"`
	}
	_ = unmarshalLax(c.Hello().Snapshot, &snapshot)
	g.stateDir = snapshot.StateDir
	payload, err := c.Call(ctx, "health", nil)
	if err != nil {
		g.err = err
		return g
	}
	var health struct {
		Warnings []string `json:"warnings"`
	}
	if err := json.Unmarshal(payload, &health); err != nil {
		g.err = fmt.Errorf("its health cannot be read: %w", err)
	}
	g.warnings = health.Warnings
	return g
}

// ours reports whether it is the gateway of this state folder.
func (g *runningGateway) ours(state string) bool {
	if g == nil || g.stateDir == "" {
		return false
	}
	if g.stateDir == state {
		return true
	}
	a, errA := os.Stat(g.stateDir)
	b, errB := os.Stat(state)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// checkListen: the address is free, or our gateway has it.
func (d *doctor) checkListen() {
	const check = "address"
	listen := section[gatewayConfig](d.snap, "gateway").Listen
	const other = "stop the other program, or choose another address with gateway.listen or --listen"
	switch {
	case d.running.ours(d.loc.state):
		d.add(check, stateOK, "", "%s: this gateway is running (version %s)", listen, d.running.version)
		if d.running.err != nil {
			d.add("health", stateFail, "look into its log: sluice call logs.tail", "the running gateway did not answer health: %v", d.running.err)
		}
		for _, w := range d.running.warnings {
			d.add("health", stateFail, "", "%s", w)
		}
		return
	case d.running != nil && d.running.err != nil:
		d.add(check, stateFail, other, "%s: a gateway is running there that does not take this state folder's secret: %v", listen, d.running.err)
		return
	case d.running != nil:
		d.add(check, stateFail, other, "%s: another gateway is running there (version %s, state %s)", listen, d.running.version, firstOf(d.running.stateDir, "unknown"))
		return
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		d.add(check, stateFail, other, "%v", err)
		return
	}
	_ = l.Close()
	d.add(check, stateOK, "", "%s is free", listen)
}

// checkStore: the state can be opened, or the running gateway has it open.
func (d *doctor) checkStore(ctx context.Context) {
	const check = "store"
	path := d.storePath()
	if d.running.ours(d.loc.state) {
		d.add(check, stateOK, "", "%s is in use by the running gateway", path)
		return
	}
	if !exists(path) {
		d.add(check, stateNote, "", "%s is not there yet; the first start makes it", path)
		return
	}
	st, _, err := openStore(d.loc, d.snap)
	switch {
	case errors.Is(err, storage.ErrLocked):
		d.add(check, stateFail, "stop the process that holds it; if that is a gateway on another address, all is well", "%v", err)
		return
	case errors.Is(err, storage.ErrFull):
		d.add(check, stateFail, "free some space", "%v", err)
		return
	case err != nil:
		d.add(check, stateFail, "restore the file from a backup, or move it away to start with empty state", "%v", err)
		return
	}
	defer st.Close()
	err = st.View(ctx, func(r storage.Reader) error {
		_, err := storage.ReadCounter(r, storage.CounterBoots)
		return err
	})
	if err != nil {
		d.add(check, stateFail, "restore the file from a backup, or move it away to start with empty state", "%v", err)
		return
	}
	d.add(check, stateOK, "", "%s (%s)", path, st.Health().Backend)
}

// storePath is where openStore looks.
func (d *doctor) storePath() string {
	cfg := section[storageConfig](d.snap, "storage")
	switch {
	case cfg.Path == "":
		return d.path(defaultStoreName(cfg.Backend))
	case filepath.IsAbs(cfg.Path):
		return cfg.Path
	}
	return d.path(cfg.Path)
}

// damagedMark is in the name of every file that a store has set aside.
const damagedMark = ".damaged-"

// checkDamaged: nothing was set aside that nobody has looked at.
func (d *doctor) checkDamaged() {
	const check = "damage"
	store := strings.TrimRight(d.storePath(), "/")
	var names []string
	for _, pattern := range []string{store + damagedMark + "*", filepath.Join(store, "*"+damagedMark+"*"), filepath.Join(store, "*", "*"+damagedMark+"*")} {
		found, _ := filepath.Glob(pattern) // the only error is a bad pattern
		names = append(names, found...)
	}
	if len(names) == 0 {
		d.add(check, stateOK, "", "no damaged state was set aside")
		return
	}
	const most = 5
	text := strings.Join(names[:min(len(names), most)], ", ")
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	d.add(check, stateFail, "what could be read was kept; move the files away once they are not needed any more", "damaged state was set aside: %s", text)
}
