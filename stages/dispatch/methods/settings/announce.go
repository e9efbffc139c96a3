package settings

import (
	"slices"
	"strings"
	"time"

	"sluice/frames"
	"sluice/storage/config"

	"github.com/go-json-experiment/json"
)

// announce tells clients of a change. It runs inside the write, so before the write's
// answer, as upstream's does.
func (f *Family) announce(old, now *config.Snapshot) {
	agents := func(key string) bool { return key == "agent" || strings.HasPrefix(key, "agent.") }
	if slices.ContainsFunc(config.Diff(old, now), agents) {
		f.deps.Events.Broadcast(frames.Event{Name: "chat.metadata.changed", Payload: []byte("{}"), Reach: frames.ReachAll})
	}
	if old.Hash == now.Hash {
		return
	}
	// A struct of two strings and a number always marshals.
	body, _ := json.Marshal(struct {
		Path string `json:"path"`
		Hash string `json:"hash"`
		TS   int64  `json:"ts"`
	}{now.Path, now.Hash, time.Now().UnixMilli()})
	f.deps.Events.Broadcast(frames.Event{Name: "config.changed", Payload: body, Reach: frames.ReachAll})
}
