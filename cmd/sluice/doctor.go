package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"sluice/storage/config"

	"github.com/spf13/cobra"
)

// The states of a finding. Only stateFail makes the exit status 1: a warning is
// something that may be meant so.
const (
	stateOK   = "ok"
	stateNote = "note"
	stateWarn = "warn"
	stateFail = "fail"
)

// finding is what one check says.
type finding struct {
	Check string `json:"check"`
	State string `json:"state"`
	Text  string `json:"text"`
	Do    string `json:"do,omitzero"` // what to do about it
}

// doctor is one run of the checks.
type doctor struct {
	environ []string
	at      place
	fix     bool

	loc     location
	snap    *config.Snapshot // nil when the configuration is not valid
	running *runningGateway  // nil when none answers at gateway.listen
	found   []finding
}

func newDoctorCommand(p *process) *cobra.Command {
	d := &doctor{environ: p.environ}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check the installation and say what to do; exit status 1 when something is wrong",
		Long: "Check the state folder, its files, the configuration, the store, the disk, the address, the model, the\n" +
			"quarantine, the ledger, the integrity of the host's files, memory and telemetry. Nothing is changed, except\n" +
			"that --fix narrows permissions that are too wide, that an alert about the host's files which is shown is noted\n" +
			"in the ledger, and that a damaged store is repaired when it is opened, as the gateway would do.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := d.run(cmd.Context()); err != nil {
				return err
			}
			if asJSON {
				return errors.Join(printJSON(p.out, map[string]any{"ok": d.failures() == 0, "checks": d.found}), d.verdict())
			}
			return errors.Join(d.write(p.out), d.verdict())
		},
	}
	d.at.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&d.fix, "fix", false, "narrow permissions that are too wide")
	cmd.SetFlagErrorFunc(badFlag)
	return cmd
}

// run makes every check; one that cannot be made says so as a finding.
func (d *doctor) run(ctx context.Context) (err error) {
	if d.loc, err = locate(d.at.state, d.at.config, getenv(d.environ)); err != nil {
		return err
	}
	d.checkState()
	d.checkConfig()
	d.checkSecrets()
	if d.snap == nil {
		return nil // the other checks would speak about a configuration that nobody wrote
	}
	d.running = findGateway(ctx, d.loc, d.snap)
	d.checkListen()
	d.checkStore(ctx)
	d.checkDamaged()
	d.checkDisk()
	d.checkExposure()
	d.checkModel(ctx)
	d.checkQuarantine()
	d.checkLedger(ctx)
	d.checkIntegrity(ctx)
	d.checkMemory()
	d.checkTelemetry()
	return nil
}

func (d *doctor) add(check, state, do, format string, args ...any) {
	d.found = append(d.found, finding{Check: check, State: state, Text: fmt.Sprintf(format, args...), Do: do})
}

func (d *doctor) failures() int {
	n := 0
	for _, f := range d.found {
		if f.State == stateFail {
			n++
		}
	}
	return n
}

func (d *doctor) verdict() error {
	if n := d.failures(); n > 0 {
		return fmt.Errorf("doctor found %s", count(n, "problem"))
	}
	return nil
}

func (d *doctor) write(w io.Writer) error {
	for _, f := range d.found {
		if _, err := fmt.Fprintf(w, "%-4s  %-13s  %s\n", f.State, f.Check, f.Text); err != nil {
			return err
		}
		if f.Do != "" {
			fmt.Fprintf(w, "%21s-> %s\n", "", f.Do)
		}
	}
	return nil
}

// checkState: the folder is there, is a folder, belongs to its owner only, takes files.
func (d *doctor) checkState() {
	const check = "state"
	info, err := os.Stat(d.loc.state)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.add(check, stateNote, "", "%s is not there yet; the first start makes it", d.loc.state)
		return
	case err != nil:
		d.add(check, stateFail, "make it accessible, or choose another with --state DIR", "%v", err)
		return
	case !info.IsDir():
		d.add(check, stateFail, "move the file away, or choose another folder with --state DIR", "%s is no folder", d.loc.state)
		return
	}
	if !d.ownerOnly(check, d.loc.state, info, 0o700) {
		return
	}
	f, err := os.CreateTemp(d.loc.state, ".doctor-*")
	if err != nil {
		d.add(check, stateFail, "give this user the right to write there, or free some space", "%v", err)
		return
	}
	_ = f.Close()
	_ = os.Remove(f.Name())
	d.add(check, stateOK, "", "%s", d.loc.state)
}

// ownerOnly says and, with --fix, mends permissions that let others in. It reports
// whether all is well now. Windows has no such bits.
func (d *doctor) ownerOnly(check, path string, info fs.FileInfo, mode fs.FileMode) bool {
	perm := info.Mode().Perm()
	if runtime.GOOS == "windows" || perm&0o077 == 0 {
		return true
	}
	command := fmt.Sprintf("chmod %o %s", mode, path)
	if !d.fix {
		d.add(check, stateFail, command+", or run `sluice doctor --fix`", "%s is open to other users (mode %04o)", path, perm)
		return false
	}
	if err := os.Chmod(path, mode); err != nil {
		d.add(check, stateFail, command+" as its owner", "%v", err)
		return false
	}
	d.add(check, stateNote, "", "%s was open to other users (mode %04o); it is not any more", path, perm)
	return true
}

// checkConfig: the configuration that serve would read is valid.
func (d *doctor) checkConfig() {
	const check = "config"
	snap, err := loadConfig(d.loc, d.environ)
	var invalid *config.InvalidError
	switch {
	case errors.As(err, &invalid):
		for _, issue := range invalid.Issues {
			d.add(check, stateFail, "correct it; `sluice config explain` shows what is allowed", "%s", issue)
		}
		return
	case err != nil:
		d.add(check, stateFail, "make the file readable, or leave --config out", "%v", err)
		return
	}
	d.snap = snap
	for _, w := range snap.Warnings {
		d.add(check, stateWarn, "", "%s", w)
	}
	if !snap.Exists {
		d.add(check, stateNote, "", "%s is not there; defaults and environment hold", d.loc.config)
		return
	}
	d.add(check, stateOK, "", "%s", d.loc.config)
}

// checkSecrets: files that hold secrets are readable by their owner only, and the token
// is there when it is needed.
func (d *doctor) checkSecrets() {
	const check = "secrets"
	good := true
	for _, path := range []string{d.path(tokenFile), d.path(secretFile), d.path(identityFile), d.path(deviceFile), d.loc.config} {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			d.add(check, stateFail, "make it accessible to the gateway's user", "%v", err)
			good = false
			continue
		}
		if path == d.loc.config && !d.holdsSecret() {
			continue
		}
		good = d.ownerOnly(check, path, info, 0o600) && good
		if info.Size() == 0 && path != d.loc.config {
			d.add(check, stateFail, "remove it to have a new one made", "%s is empty", path)
			good = false
		}
	}
	if good {
		d.add(check, stateOK, "", "%s", d.tokenText())
	}
}

func (d *doctor) path(name string) string { return filepath.Join(d.loc.state, name) }

// holdsSecret: the file (not the environment) sets a key whose value is hidden.
func (d *doctor) holdsSecret() bool {
	if d.snap == nil {
		return true // it cannot be told; a config file is nobody else's business anyway
	}
	for _, e := range config.Explain(d.snap, "") {
		if e.Value == config.Redacted && strings.HasPrefix(e.Source, filepath.Base(d.loc.config)) {
			return true
		}
	}
	return false
}

func (d *doctor) tokenText() string {
	if d.snap != nil {
		switch auth := section[gatewayConfig](d.snap, "gateway").Auth; {
		case auth.Mode != "token":
			return "auth mode " + auth.Mode + " needs no token"
		case auth.Token != "":
			return "the token is configured"
		}
	}
	if !exists(d.path(tokenFile)) {
		return "no token yet; the first start makes one"
	}
	return d.path(tokenFile)
}
