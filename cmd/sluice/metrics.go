package main

import (
	"strconv"

	"sluice/bufpool"
	"sluice/frames"
	"sluice/frames/ws"
	"sluice/pipeline"
	"sluice/pipeline/telemetry"
)

// registerMetrics shows the parts' own counters at /metrics. Names are the real
// gateway's where it has them (openclaw.md 3.4), sluice_ otherwise.
func (g *Gateway) registerMetrics() error {
	r := g.tel.Registry
	var err error
	try := func(e error) {
		if err == nil {
			err = e
		}
	}
	try(r.RegisterCounters("openclaw_gateway_rpc_requests_total", "Requests by method.", []string{"method"}, func(emit telemetry.Emit) {
		for _, m := range frames.Methods() {
			if n := g.stages.decode.Requests(m.Index); n > 0 {
				emit(float64(n), m.Name)
			}
		}
		emit(float64(g.stages.decode.Requests(-1)), "unknown")
	}))
	g.pipelineMetrics(r, try)
	g.stageMetrics(r, try)
	g.edgeMetrics(r, try)
	return err
}

func (g *Gateway) pipelineMetrics(r *telemetry.Registry, try func(error)) {
	st := g.pipe.Stats()
	try(r.RegisterHistogramFunc("openclaw_gateway_rpc_first_response_seconds", "Time from a frame's arrival to its answer.", nil, st.Total.Read))
	try(r.RegisterCounterFunc("sluice_frames_total", "Frames that were settled.", nil, func() float64 { return float64(st.Frames.Load()) }))
	try(r.RegisterCounterFunc("sluice_shed_total", "Frames refused because the pipeline was full.", telemetry.Labels{"reason": "queue"},
		func() float64 { return float64(st.Refused.Load()) }))
	try(r.RegisterGaugeFunc("sluice_inflight_frames", "Frames in the pipeline.", nil, func() float64 { n, _ := g.pipe.InFlight(); return float64(n) }))
	try(r.RegisterGaugeFunc("sluice_queue_bytes", "Bytes of frames in the pipeline.", nil, func() float64 { _, b := g.pipe.InFlight(); return float64(b) }))
	try(r.RegisterGaugeFunc("sluice_leases_outstanding", "Pooled buffers in use.", nil, func() float64 { return float64(bufpool.Outstanding()) }))
	for _, s := range g.pipe.Stages() {
		labels := telemetry.Labels{"stage": s.Name}
		stats := s.Stats
		try(r.RegisterHistogramFunc("sluice_stage_seconds", "Time that a stage took for one frame.", labels, stats.Process.Read))
		for kind, n := range map[string]func() uint64{"error": stats.Errors.Load, "timeout": stats.Timeouts.Load, "panic": stats.Panics.Load, "parked": stats.Parked.Load} {
			try(r.RegisterCounterFunc("sluice_stage_outcomes_total", "Frames that a stage did not simply pass on.",
				telemetry.Labels{"stage": s.Name, "outcome": kind}, func() float64 { return float64(n()) }))
		}
	}
	try(r.RegisterGauges("sluice_stage_queued", "Frames that wait before a stage.", []string{"stage"}, func(emit telemetry.Emit) {
		for _, s := range g.pipe.Stages() {
			emit(float64(s.Queued), s.Name)
		}
	}))
}

func (g *Gateway) stageMetrics(r *telemetry.Registry, try func(error)) {
	counters := func(name, help, label string, values map[string]func() uint64) {
		for v, n := range values {
			try(r.RegisterCounterFunc(name, help, telemetry.Labels{label: v}, func() float64 { return float64(n()) }))
		}
	}
	d, s, p := &g.stages.dedupe.Stats, &g.stages.schedule.Stats, &g.stages.persist.Stats
	counters("sluice_dedupe_total", "Requests with an idempotency key.", "outcome", map[string]func() uint64{
		"first": d.First.Load, "replayed": d.Replayed.Load, "joined": d.Joined.Load, "conflict": d.Conflicts.Load, "refused": d.Refused.Load})
	try(r.RegisterGaugeFunc("sluice_dedupe_keys", "Idempotency keys in memory.", nil, func() float64 { return float64(g.stages.dedupe.Size()) }))
	try(r.RegisterGaugeFunc("sluice_dedupe_bytes", "Bytes that they and their answers take.", nil, func() float64 { return float64(g.stages.dedupe.Bytes()) }))
	try(r.RegisterGaugeFunc("sluice_persist_waiting", "Envelopes that wait to be written.", nil, func() float64 { n, _ := g.stages.persist.Waiting(); return float64(n) }))
	counters("sluice_turns_total", "Agent turns by what became of them.", "outcome", map[string]func() uint64{
		"reserved": s.Reserved.Load, "started": s.Started.Load, "finished": s.Finished.Load, "steered": s.Steered.Load,
		"collected": s.Collected.Load, "interrupted": s.Interrupted.Load, "dropped": s.Dropped.Load, "refused": s.Refused.Load, "ignored": s.Ignored.Load, "cancelled": s.Cancelled.Load, "aborted": s.Aborted.Load})
	try(r.RegisterGauges("openclaw_queue_lane_size", "Turns that wait or run.", []string{"lane"}, func(emit telemetry.Emit) {
		v := g.stages.schedule.View()
		emit(float64(v.Queued+v.Running), "main")
	}))
	counters("sluice_persist_total", "Writes.", "outcome", map[string]func() uint64{"commit": p.Commits.Load, "written": p.Written.Load, "failed": p.Failed.Load})
	try(r.RegisterHistogramFunc("sluice_persist_commit_seconds", "Time of one transaction with its fsync.", nil, p.Commit.Read))
	a := &g.runs.Stats
	counters("sluice_runs_total", "Agent runs.", "outcome", map[string]func() uint64{"started": a.Started.Load, "ok": a.Succeeded.Load,
		"failed": a.Failed.Load, "aborted": a.Aborted.Load, "retried": a.Retried.Load})
	counters("openclaw_tokens_total", "Tokens as model endpoints count them.", "kind", map[string]func() uint64{"input": a.TokensIn.Load, "output": a.TokensOut.Load})
	try(r.RegisterHistogramFunc("openclaw_run_duration_seconds", "Time of an agent run.", nil, a.Duration.Read))
	g.defenceMetrics(r, try)
	try(r.RegisterCounters("sluice_defend_decisions_total", "Decisions of the defender by rule.", []string{"action", "rule"}, func(emit telemetry.Emit) {
		for rule, n := range g.stages.defend.Stats().Rules() {
			for i, count := range n {
				if count > 0 {
					emit(float64(count), pipeline.Action(i).String(), rule)
				}
			}
		}
	}))
}

func (g *Gateway) edgeMetrics(r *telemetry.Registry, try func(error)) {
	c := &g.connect.Stats
	for outcome, n := range map[string]func() uint64{"accepted": c.Accepted.Load, "refused": c.Refused.Load, "unauthorized": c.Unauthorized.Load, "locked_out": c.LockedOut.Load} {
		try(r.RegisterCounterFunc("sluice_handshakes_total", "Handshakes.", telemetry.Labels{"outcome": outcome}, func() float64 { return float64(n()) }))
	}
	gauge := func(name, help string, fn func(ws.Stats) float64) {
		try(r.RegisterGaugeFunc(name, help, nil, func() float64 { return fn(g.edge.Stats()) }))
	}
	count := func(name, help string, fn func(ws.Stats) uint64) {
		try(r.RegisterCounterFunc(name, help, nil, func() float64 { return float64(fn(g.edge.Stats())) }))
	}
	gauge("sluice_connections", "Open sockets.", func(s ws.Stats) float64 { return float64(s.Connections) })
	gauge("sluice_connections_authenticated", "Sockets past hello.", func(s ws.Stats) float64 { return float64(s.Authenticated) })
	gauge("sluice_outbox_bytes", "Bytes that wait for clients.", func(s ws.Stats) float64 { return float64(s.OutboxBytes) })
	count("sluice_ws_frames_in_total", "Messages from clients.", func(s ws.Stats) uint64 { return s.FramesIn })
	count("sluice_ws_frames_out_total", "Messages to clients.", func(s ws.Stats) uint64 { return s.FramesOut })
	count("sluice_ws_bytes_in_total", "Bytes from clients.", func(s ws.Stats) uint64 { return s.BytesIn })
	count("sluice_ws_bytes_out_total", "Bytes to clients.", func(s ws.Stats) uint64 { return s.BytesOut })
	count("sluice_slow_consumers_total", "Connections closed because they did not read.", func(s ws.Stats) uint64 { return s.SlowConsumers })
	byName := func(name, help, label string, fn func(ws.Stats) map[string]uint64) {
		try(r.RegisterCounters(name, help, []string{label}, func(emit telemetry.Emit) {
			for k, n := range fn(g.edge.Stats()) {
				emit(float64(n), k)
			}
		}))
	}
	byName("sluice_events_dropped_total", "Events that a slow connection missed.", "event", func(s ws.Stats) map[string]uint64 { return s.Dropped })
	byName("sluice_upgrades_refused_total", "WebSocket upgrades refused.", "reason", func(s ws.Stats) map[string]uint64 { return s.Refused })
	byName("sluice_connections_cut_total", "Connections ended without a close frame.", "reason", func(s ws.Stats) map[string]uint64 { return s.Cut })
	try(r.RegisterCounters("sluice_closes_total", "Close frames sent.", []string{"code"}, func(emit telemetry.Emit) {
		for code, n := range g.edge.Stats().Closes {
			emit(float64(n), strconv.Itoa(int(code)))
		}
	}))
}
