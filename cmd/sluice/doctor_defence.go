package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sluice/stages/defend/host"
	"sluice/stages/defend/ledger"
)

const (
	// ledgerQuick is the time in which doctor checks the whole ledger; of one that takes
	// longer the last entries alone are read.
	ledgerQuick = 2 * time.Second
	ledgerLast  = 100
)

// checkLedger: the folder is its owner's alone and the journal is as it was written.
func (d *doctor) checkLedger(ctx context.Context) {
	const check = "ledger"
	const look = "`sluice ledger verify` shows all of it; who could write there?"
	dir := ledgerDir(d.loc)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		d.add(check, stateNote, "", "%s is not there yet; the first start makes it", dir)
		return
	case err != nil:
		d.add(check, stateFail, "make it accessible to the gateway's user", "%v", err)
		return
	}
	if !d.ownerOnly(check, dir, info, 0o700) || !d.ownFiles(check, dir) {
		return
	}
	r, err := ledger.OpenReader(dir)
	if err != nil {
		d.add(check, stateFail, "make it accessible to the gateway's user", "%v", err)
		return
	}
	defer r.Close()
	quick, cancel := context.WithTimeout(ctx, ledgerQuick)
	defer cancel()
	report, err := r.Verify(quick, nil)
	switch {
	case err == nil && report.OK():
		d.add(check, stateOK, "", "%d entries, nothing was changed", report.Entries)
		return
	case err == nil:
		d.add(check, stateFail, look, "%s: %s", count(len(report.Problems)+report.More, "problem"), report.Problems[0])
		return
	case !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil:
		d.add(check, stateFail, "make the files readable for the gateway's user", "%v", err)
		return
	}
	last, err := r.List(ctx, ledger.Filter{Newest: true, Limit: ledgerLast})
	if err != nil {
		d.add(check, stateFail, look, "%v", err)
		return
	}
	d.add(check, stateOK, "", "the last %d entries are sound; `sluice ledger verify` checks all, which takes longer than %s", len(last), ledgerQuick)
}

// ownFiles reports whether the files of a folder are their owner's alone.
func (d *doctor) ownFiles(check, dir string) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		d.add(check, stateFail, "make it accessible to the gateway's user", "%v", err)
		return false
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() && !d.ownerOnly(check, filepath.Join(dir, e.Name()), info, 0o600) {
			return false
		}
	}
	return true
}

// checkIntegrity: the host's files are as the baseline says.
func (d *doctor) checkIntegrity(ctx context.Context) {
	const check = "integrity"
	at := &defenceAt{d.loc, d.snap, d.running}
	if !section[host.Config](d.snap, "defend.host").Enabled {
		d.add(check, stateNote, "", "the host's files are not checked (defend.host.enabled)")
		return
	}
	a, err := at.integrity(ctx)
	switch {
	case errors.Is(err, errNoState):
		d.add(check, stateNote, "", "there is no baseline yet; the first start makes it")
		return
	case err != nil:
		d.add(check, stateFail, "mend that, and run doctor again", "the host's files could not be checked: %v", err)
		return
	}
	s := &a.Integrity
	if len(s.Errors) > 0 {
		d.add(check, stateFail, "make the files readable for the gateway's user", "cannot be checked: %s", strings.Join(s.Errors[:min(len(s.Errors), 3)], "; "))
	}
	if s.Alert {
		d.add(check, stateFail, "find out who changed them and why; put them back or, if that was meant, `sluice integrity accept`", "%s", alertText(&a))
	}
	if !s.Alert && len(s.Errors) == 0 {
		d.add(check, stateOK, "", "%s as the baseline of %s says", count(s.Files, "file"), entryTime(s.AcceptedMs))
	}
}

// alertText lists what changed, and where that is noted.
func alertText(a *integrityAnswer) string {
	const most = 5
	var list []string
	for _, c := range a.Integrity.Changes[:min(len(a.Integrity.Changes), most)] {
		list = append(list, c.String())
	}
	text := strings.Join(list, "; ")
	if more := len(a.Integrity.Changes) - most; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text + " (" + a.note() + ")"
}
