package main

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/defend"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// judgedHere are the methods of the captures that are judged.
var judgedHere = map[string]bool{"chat.send": true, "chat.inject": true, "agent": true, "sessions.create": true, "sessions.send": true, "sessions.patch": true,
	"cron.add": true, "node.invoke": true, "node.invoke.result": true, "node.event": true, "node.pluginTools.update": true, "node.skills.update": true,
	"exec.approval.request": true, "plugin.approval.request": true, "config.patch": true, "config.set": true, "system-event": true, "wake": true, "send": true}

// TestRealFramesAreNotStopped: of what real clients and nodes sent to the real gateway
// nothing is stopped, and no prompt of theirs is reviewed. The captures lie outside of the
// repository; without them nothing is checked.
func TestRealFramesAreNotStopped(t *testing.T) {
	files, err := filepath.Glob("../../../shared/protocol/captures/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Skip("the captures are not here")
	}
	w := newWorld(t)
	w.conf["defend.policy.loop.enabled"] = false
	g := w.start()
	judgedFrames, reviewed := 0, map[string]int{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(bytes.NewReader(raw))
		lines.Buffer(nil, 64<<20)
		for lines.Scan() {
			var rec struct {
				Dir   string
				Frame jsontext.Value
			}
			var f struct {
				Type, Method string
				Params       jsontext.Value
			}
			anyCase := json.MatchCaseInsensitiveNames(true)
			if json.Unmarshal(lines.Bytes(), &rec, anyCase) != nil || rec.Dir != "c2s" || json.Unmarshal(rec.Frame, &f, anyCase) != nil || f.Type != "req" || !judgedHere[f.Method] {
				continue
			}
			a, err := defend.ParseAction(f.Method, f.Params)
			if err != nil {
				t.Fatal(err)
			}
			a.Origin = defend.OriginOwner
			if m := frames.LookupMethod([]byte(f.Method)); m != nil && m.Node {
				a.Origin = defend.OriginTool
			}
			a.Admin = true
			judgedFrames++
			d := g.stages.defend.Evaluate(t.Context(), a)
			switch {
			case d.Action == pipeline.Block:
				t.Errorf("%s: %s is blocked: %d %v", filepath.Base(file), f.Method, d.Risk, d.Tags)
			case d.Action == pipeline.Review:
				reviewed[f.Method]++
				t.Logf("%s: %s is reviewed: %d %v %s", filepath.Base(file), f.Method, d.Risk, d.Tags, f.Params)
			}
		}
	}
	if judgedFrames < 30 {
		t.Errorf("only %d frames: the captures were not read", judgedFrames)
	}
	t.Logf("%d frames of judged methods; reviewed: %v", judgedFrames, reviewed)
	for _, method := range []string{"chat.send", "agent", "sessions.patch", "sessions.create", "node.event", "node.pluginTools.update", "cron.add"} {
		if reviewed[method] > 0 {
			t.Errorf("%d of %s are reviewed", reviewed[method], method)
		}
	}
}
