//go:build !race

package decode

import (
	"testing"

	"sluice/frames"
	"sluice/pipeline/pipelinetest"
)

// TestDecodeDoesNotAllocate also holds while other connections are being counted for
// calls of the other role's methods, and for one that was.
func TestDecodeDoesNotAllocate(t *testing.T) {
	for name, raw := range map[string]string{"health": req("1", "health", ""), "chat.send of 1 KB": frame1K,
		"sessions.list": req("1", "sessions.list", `{"limit":50,"includeGlobal":true}`)} {
		for _, scope := range []string{"operator.admin", "operator.write"} {
			s := newStage(t, Default(), all)
			s.strikes.strike("somebody else")
			e := pipelinetest.Raw(client(frames.RoleOperator, scope), raw)
			if n := testing.AllocsPerRun(200, func() { run(t, s, e) }); n != 0 {
				t.Errorf("%s, %s: %v allocations", name, scope, n)
			}
		}
	}
}
