package compare

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"sluice/bench/spawn"
)

// Target is one gateway to measure.
type Target struct {
	Name       string `json:"name"`
	URL        string `json:"url"`
	PID        int    `json:"pid,omitzero"`
	Token      string `json:"-"`
	DeviceFile string `json:"deviceFile,omitzero"`
	// Command, if set, is started for the run; {port}, {token} and {state} in it are
	// filled in with a free port, a fresh token and a temporary folder. Env is added to
	// its environment.
	Command []string `json:"command,omitempty"`
	Env     []string `json:"env,omitempty"`
}

// ParseTarget reads "name=what[,key=value]...": what is ws://host:port, @limit, @serve,
// @openclaw:NODE_MODULES or exec:COMMAND (blanks separate its arguments); keys are pid, token and device.
// @limit and @serve run the program self.
func ParseTarget(text, self string) (Target, error) {
	name, rest, ok := strings.Cut(text, "=")
	bad := func(why string) (Target, error) {
		return Target{}, fmt.Errorf("bench compare: target %q: %s; write name=ws://127.0.0.1:port,pid=N,token=T or name=@limit, name=@serve, name=@openclaw:NODE_MODULES, name=exec:COMMAND", text, why)
	}
	if !ok || name == "" {
		return bad("no name")
	}
	what, keys, _ := strings.Cut(rest, ",")
	t := Target{Name: name}
	switch {
	case what == "@limit":
		t.Command = spawn.Limit(self)
	case what == "@serve":
		t.Command = spawn.Serve(self)
	case strings.HasPrefix(what, "@openclaw:"):
		var err error
		if t.Command, err = spawn.OpenClaw(what[len("@openclaw:"):]); err != nil {
			return Target{}, err
		}
	case strings.HasPrefix(what, "exec:"):
		t.Command = strings.Fields(what[len("exec:"):])
		if len(t.Command) == 0 {
			return bad("no command")
		}
	case strings.HasPrefix(what, "ws://"), strings.HasPrefix(what, "wss://"):
		t.URL = what
	default:
		return bad("not an address and not a command")
	}
	for pair := range strings.SplitSeq(keys, ",") {
		key, val, _ := strings.Cut(pair, "=")
		switch key {
		case "":
		case "pid":
			n, err := strconv.Atoi(val)
			if err != nil || n < 1 {
				return bad("pid " + val + " is no number")
			}
			t.PID = n
		case "token":
			t.Token = val
		case "device":
			t.DeviceFile = val
		default:
			return bad("unknown key " + key)
		}
	}
	return t, nil
}

// start starts the target's command and fills in URL, PID and Token.
func (t *Target) start(ctx context.Context) (*spawn.Gateway, error) {
	g, err := spawn.Start(ctx, spawn.Command{Name: t.Name, Args: t.Command, Env: t.Env, Token: t.Token})
	if err != nil {
		return nil, err
	}
	t.URL, t.PID, t.Token = g.URL, g.PID, g.Token
	return g, nil
}
