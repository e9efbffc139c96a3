package system

import (
	"context"
	"os"
	"runtime"
	"time"

	"sluice/frames"
	"sluice/pipeline"

	"github.com/go-json-experiment/json/jsontext"
)

// status is the gateway's state for the CLI and the Control UI. Callers without admin
// see counts, not paths or session keys.
func (f *Family) status(ctx context.Context, e *pipeline.Envelope) error {
	var p struct {
		CLIProjection bool `json:"includeCliProjection"`
	}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	admin := e.Peer.Scopes.Allows(frames.ScopeAdmin)
	infos, err := f.health.sessions(ctx, time.Now())
	if err != nil {
		return err
	}
	handlers, turns := f.deps.Waiting()
	out := map[string]any{
		"runtimeVersion": f.deps.Version, "pid": os.Getpid(),
		"hostDesktop":          map[string]any{"enabled": false, "state": "disabled", "port": 0},
		"heartbeat":            map[string]any{"defaultAgentId": frames.DefaultAgent, "agents": f.heartbeatAgents()},
		"channelSummary":       f.channelSummary(),
		"queuedSystemEvents":   f.queued.all(),
		"degradedSecretOwners": []string{}, "degradedPlugins": []string{},
		"tasks": taskCounts(turns), "taskAudit": map[string]any{"total": 0, "warnings": 0, "errors": 0, "byCode": map[string]int{}},
		"sessions":       f.statusSessions(infos, admin),
		"eventLoop":      f.deps.Loop.Snapshot(),
		"processMemory":  processMemory(),
		"shutdownBudget": map[string]any{"activeWork": map[string]any{"rootRequests": handlers, "agentTurns": turns}},
	}
	if admin {
		out["modelRuntime"] = map[string]any{"degraded": false, "pendingAgents": []string{}}
	}
	if p.CLIProjection {
		rows := []map[string]any{}
		for _, id := range f.deps.AgentIDs() {
			rows = append(rows, map[string]any{"id": id})
		}
		out["cliProjection"] = map[string]any{"updateChannel": nil,
			"agents": map[string]any{"defaultId": frames.DefaultAgent, "ownership": "sole", "selectionRequired": false, "rows": rows}}
	}
	return e.AnswerValue(out)
}

func taskCounts(turns int64) map[string]any {
	return map[string]any{"total": turns, "active": turns, "terminal": 0, "failures": 0,
		"byStatus":  map[string]int64{"queued": 0, "running": turns, "succeeded": 0, "failed": 0, "timed_out": 0, "cancelled": 0, "lost": 0},
		"byRuntime": map[string]int64{"subagent": 0, "acp": 0, "cli": turns, "cron": 0}}
}

func (f *Family) heartbeatAgents() []map[string]any {
	rows := []map[string]any{}
	for _, id := range f.deps.AgentIDs() {
		rows = append(rows, map[string]any{"agentId": id, "enabled": false, "every": "0m", "everyMs": 0, "waitingForRoute": false})
	}
	return rows
}

func (f *Family) channelSummary() []string {
	lines := []string{}
	for _, c := range f.deps.Channels() {
		if c.Configured {
			lines = append(lines, c.Label+": configured")
		}
	}
	return lines
}

func (f *Family) statusSessions(infos map[string]*SessionInfo, admin bool) map[string]any {
	total, recent, byAgent, paths := 0, []RecentSession{}, []map[string]any{}, []string{}
	for _, id := range f.deps.AgentIDs() {
		info := infos[id]
		if info == nil {
			info = &SessionInfo{Recent: []RecentSession{}}
		}
		total += info.Count
		row := map[string]any{"agentId": id, "path": "[redacted]", "count": info.Count, "recent": []RecentSession{}}
		if admin {
			row["path"], row["recent"] = f.deps.StorePath, info.Recent
			recent = append(recent, info.Recent...)
		}
		byAgent = append(byAgent, row)
	}
	defaults := map[string]any{"model": nil, "contextTokens": nil}
	if admin {
		paths = append(paths, f.deps.StorePath)
		if m := f.deps.Runs.Model(frames.DefaultAgent); m.ID != "" {
			defaults["model"], defaults["contextTokens"] = m.ID, m.ContextTokens
		}
	}
	return map[string]any{"paths": paths, "count": total, "defaults": defaults, "recent": recent, "byAgent": byAgent}
}

// processMemory uses the member names that clients know from Node.
func processMemory() map[string]any {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return map[string]any{"rssBytes": residentBytes(), "heapUsedBytes": m.HeapAlloc, "heapTotalBytes": m.HeapSys,
		"externalBytes": m.StackSys, "arrayBuffersBytes": 0}
}

// systemPresence answers with the encoded snapshot.
func (f *Family) systemPresence(_ context.Context, e *pipeline.Envelope) error {
	e.Answer(f.presence.JSON())
	return nil
}

// info answers system.info.
func (f *Family) info(_ context.Context, e *pipeline.Envelope) error {
	host, _ := os.Hostname()
	total, free := memory()
	out := map[string]any{"machineName": host, "hostname": host, "platform": runtime.GOOS, "release": kernelRelease(),
		"arch": nodeArch(), "osLabel": family() + " " + kernelRelease(), "port": f.deps.Port, "nodeVersion": runtime.Version(),
		"pid": os.Getpid(), "processInstanceId": f.deps.BootID, "uptimeMs": f.deps.Loop.Uptime().Milliseconds(),
		"cpuCount": runtime.NumCPU(), "memoryTotalBytes": total, "memoryFreeBytes": free,
		"eventLoop": f.deps.Loop.Snapshot(), "processMemory": processMemory(),
		"defaultAgentUtilityModel": map[string]any{"status": "unavailable"}}
	if model := cpuModel(); model != "" {
		out["cpuModel"] = model
	}
	if load, ok := loadAverage(); ok {
		out["loadAverage"] = load
	}
	if size, avail, ok := diskSpace(f.deps.StateDir); ok {
		out["disks"] = []map[string]any{{"path": "/", "totalBytes": size, "availableBytes": avail}}
		out["diskTotalBytes"], out["diskAvailableBytes"] = size, avail
		if e.Peer.Scopes.Allows(frames.ScopeAdmin) {
			out["diskPath"] = f.deps.StateDir
		}
	}
	return e.AnswerValue(out)
}

// identity answers gateway.identity.get.
func (f *Family) identity(_ context.Context, e *pipeline.Envelope) error {
	return e.AnswerValue(f.deps.Identity)
}

// lanes answers diagnostics.lanes: the lanes that exist here, and who holds each
// session's (an addition of Sluice's: "sessions").
func (f *Family) lanes(_ context.Context, e *pipeline.Envelope) error {
	v := f.deps.Lanes()
	var blocked any
	if v.Running >= v.MaxConcurrent && v.Queued > 0 {
		blocked = "maxConcurrent"
	}
	active, queuedLanes := 0, 0
	for _, l := range v.Sessions {
		if l.Holder != "" {
			active++
		}
		if len(l.Waiting) > 0 {
			queuedLanes++
		}
	}
	var dynamic any
	if len(v.Sessions) > 0 {
		dynamic = map[string]any{"laneCount": len(v.Sessions), "activeCount": active, "queuedCount": v.Queued, "queuedLaneCount": queuedLanes}
	}
	return e.AnswerValue(map[string]any{"ts": time.Now().UnixMilli(), "dynamic": dynamic, "sessions": v.Sessions,
		"lanes": []map[string]any{{"lane": "main", "queuedCount": v.Queued, "activeCount": v.Running,
			"maxConcurrent": v.MaxConcurrent, "draining": false, "generation": 0, "blockedBy": blocked}}})
}

// logsTail answers logs.tail.
func (f *Family) logsTail(_ context.Context, e *pipeline.Envelope) error {
	p := struct {
		Cursor   *int64 `json:"cursor"`
		Limit    int    `json:"limit"`
		MaxBytes int    `json:"maxBytes"`
	}{Limit: 500, MaxBytes: 250_000}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	v, err := f.deps.Tail(p.Cursor, p.Limit, p.MaxBytes)
	if err != nil {
		return frames.Unavailable(1000, "log read failed: %s", err)
	}
	return e.AnswerValue(v)
}

// updateStatus: Sluice does not update itself; a package manager does.
func (f *Family) updateStatus(_ context.Context, e *pipeline.Envelope) error {
	e.Answer(updateStatusJSON)
	return nil
}

var updateStatusJSON = jsontext.Value(`{"sentinel":null,"updateAvailable":null,"effectiveChannel":"stable","schedule":{"channel":"stable","autoEnabled":false,"install":{"kind":"package"}}}`)

// usageStatus: no provider account is polled for its quota.
func (f *Family) usageStatus(_ context.Context, e *pipeline.Envelope) error {
	return e.AnswerValue(map[string]any{"updatedAt": time.Now().UnixMilli(), "providers": []any{}})
}
