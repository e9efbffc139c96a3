package main

import (
	"sluice/pipeline"
	"sluice/pipeline/telemetry"
)

// defenceMetrics show the defender's parts at /metrics.
func (g *Gateway) defenceMetrics(r *telemetry.Registry, try func(error)) {
	d, s := &g.defence, g.stages.defend.Stats()
	count := func(name, help string, labels telemetry.Labels, n func() uint64) {
		try(r.RegisterCounterFunc(name, help, labels, func() float64 { return float64(n()) }))
	}
	for i, n := range []func() uint64{s.Decisions[0].Load, s.Decisions[1].Load, s.Decisions[2].Load} {
		count("sluice_defend_actions_total", "Judged frames by verdict.", telemetry.Labels{"action": pipeline.Action(i).String()}, n)
	}
	count("sluice_defend_would_block_total", "Blocks that audit-only mode let pass.", nil, s.WouldBlock.Load)
	count("sluice_defend_timeouts_total", "Actions that were not judged in time.", nil, s.Timeouts.Load)
	count("sluice_defend_busy_total", "Requests refused because the defender was busy.", nil, s.Busy.Load)
	count("sluice_defend_empty_total", "Frames of judged methods that held nothing to judge.", nil, s.Empty.Load)
	count("sluice_defend_panics_total", "Panics of defenders; the frame is refused.", nil, s.Errors.Load)
	count("sluice_defend_unwritten_total", "Decisions that were answered before the ledger had them, or without it.", nil, s.JournalFailed.Load)
	count("sluice_defend_asked_total", "Actions put before operators.", nil, s.Asked.Load)
	try(r.RegisterHistogramFunc("sluice_defend_seconds", "Time of all defenders for one action.", nil, s.Latency.Read))
	for i := range g.stages.defend.Defenders() {
		st := &g.stages.defend.Defenders()[i]
		labels := telemetry.Labels{"defender": st.Name}
		try(r.RegisterHistogramFunc("sluice_defender_seconds", "Time of one defender for one action.", labels, st.Latency.Read))
		count("sluice_defender_errors_total", "Failures of a defender.", labels, st.Errors.Load)
	}
	for outcome, n := range map[string]func() uint64{"written": s.QuarantineWritten.Load, "failed": s.QuarantineFailed.Load, "pruned": s.QuarantinePruned.Load} {
		count("sluice_quarantine_total", "Files of blocked actions.", telemetry.Labels{"outcome": outcome}, n)
	}
	for outcome, n := range map[string]func() uint64{"appended": d.ledger.Stats.Appended.Load, "failed": d.ledger.Stats.Failed.Load, "files_removed": d.ledger.Stats.Removed.Load} {
		count("sluice_ledger_total", "Entries of the ledger.", telemetry.Labels{"outcome": outcome}, n)
	}
	try(r.RegisterHistogramFunc("sluice_ledger_lag_seconds", "Time until an entry of the ledger is durable.", nil, d.ledger.Stats.Wait.Read))
	try(r.RegisterGaugeFunc("sluice_ledger_waiting", "Entries that wait for the disk.", nil, func() float64 { return float64(d.ledger.Waiting()) }))
	g.guardMetrics(r, try)
}

// guardMetrics are those of the host, VirusTotal, the policy and approvals.
func (g *Gateway) guardMetrics(r *telemetry.Registry, try func(error)) {
	d := &g.defence
	gauge := func(name, help string, n func() float64) { try(r.RegisterGaugeFunc(name, help, nil, n)) }
	gauge("sluice_integrity_alert", "1 while a protected file is not as its baseline says and nobody has accepted that.", func() float64 {
		if d.host.Status().Alert {
			return 1
		}
		return 0
	})
	gauge("sluice_integrity_files", "Files that are held to their baseline.", func() float64 { return float64(d.host.Status().Files) })
	gauge("sluice_tainted_sessions", "Sessions into whose turn foreign content has come.", func() float64 { return float64(d.policy.Tainted()) })
	gauge("sluice_approvals_waiting", "Approvals that wait for an operator.", func() float64 { n, _ := d.broker.Waiting(); return float64(n) })
	by := func(name, help, label string, values map[string]func() uint64) {
		for v, n := range values {
			try(r.RegisterCounterFunc(name, help, telemetry.Labels{label: v}, func() float64 { return float64(n()) }))
		}
	}
	v, p, b, s := &d.reputation.Stats, &d.policy.Stats, d.broker.Stats(), &d.secrets.Stats
	by("sluice_reputation_total", "Look-ups of addresses and files.", "outcome", map[string]func() uint64{"asked": v.Asked.Load, "cached": v.Cached.Load,
		"shared": v.Shared.Load, "failed": v.Failed.Load, "limited": v.Limited.Load, "unavailable": v.Unavailable.Load})
	by("sluice_policy_total", "Actions that the policy stopped or raised.", "reason", map[string]func() uint64{"denied": p.Denied.Load, "loop": p.Loops.Load,
		"rate": p.Limited.Load, "taint": p.Tainted.Load})
	by("sluice_approvals_total", "Approvals by what became of them.", "outcome", map[string]func() uint64{"asked": b.Asked.Load, "granted": b.Granted.Load,
		"allowed": b.Allowed.Load, "denied": b.Denied.Load, "expired": b.Expired.Load, "cancelled": b.Cancelled.Load, "refused": b.Refused.Load, "full": b.Full.Load})
	by("sluice_secrets_total", "Secrets that were found.", "where", map[string]func() uint64{"outbound": s.OutboundSure.Load, "outbound_guess": s.OutboundGuess.Load,
		"inbound": s.Inbound.Load, "redacted": s.Redacted.Load})
}
