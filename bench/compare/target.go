package compare

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"sluice/frames/client"
)

// Target is one gateway to measure.
type Target struct {
	Name       string `json:"name"`
	URL        string `json:"url"`
	PID        int    `json:"pid,omitzero"`
	Token      string `json:"-"`
	DeviceFile string `json:"deviceFile,omitzero"`
	// Command, if set, is started for the run; {port}, {token} and {state} in it are
	// filled in with a free port, a fresh token and a temporary folder.
	Command []string `json:"command,omitempty"`
}

// ParseTarget reads "name=what[,key=value]...": what is ws://host:port, @limit, @serve
// or exec:COMMAND (blanks separate its arguments); keys are pid, token and device.
// @limit and @serve run the program self.
func ParseTarget(text, self string) (Target, error) {
	name, rest, ok := strings.Cut(text, "=")
	bad := func(why string) (Target, error) {
		return Target{}, fmt.Errorf("bench compare: target %q: %s; write name=ws://127.0.0.1:port,pid=N,token=T or name=@limit, name=@serve, name=exec:COMMAND", text, why)
	}
	if !ok || name == "" {
		return bad("no name")
	}
	what, keys, _ := strings.Cut(rest, ",")
	t := Target{Name: name}
	switch {
	case what == "@limit":
		t.Command = []string{self, "bench", "limit", "--listen", "127.0.0.1:{port}"}
	case what == "@serve":
		t.Command = []string{self, "serve", "--listen", "127.0.0.1:{port}", "--state", "{state}", "--token", "{token}"}
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

// readyTimeout is how long a started command may take until its first hello-ok; the
// real openclaw needs 20 s.
const readyTimeout = 60 * time.Second

// outputBytes of a started command are kept for the error text.
const outputBytes = 4096

// child is a started target.
type child struct {
	cmd   *exec.Cmd
	done  chan struct{}
	state string
	out   *tail
}

// start runs the target's command and fills in URL, PID and Token when it is ready.
func (t *Target) start(ctx context.Context) (*child, error) {
	port, err := freePort()
	if err != nil {
		return nil, fmt.Errorf("bench compare: %s: %w", t.Name, err)
	}
	state, err := os.MkdirTemp("", "sluice-bench-*")
	if err != nil {
		return nil, fmt.Errorf("bench compare: %s: %w", t.Name, err)
	}
	if t.Token == "" {
		t.Token = rand.Text()
	}
	fill := strings.NewReplacer("{port}", strconv.Itoa(port), "{token}", t.Token, "{state}", filepath.Join(state, "state"))
	args := make([]string, len(t.Command))
	for i, a := range t.Command {
		args[i] = fill.Replace(a)
	}
	c := &child{cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{}), state: state, out: &tail{}}
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	if err := c.cmd.Start(); err != nil {
		_ = os.RemoveAll(state)
		return nil, fmt.Errorf("bench compare: starting %s: %w", t.Name, err)
	}
	go func() { _ = c.cmd.Wait(); close(c.done) }()
	t.URL, t.PID = "ws://127.0.0.1:"+strconv.Itoa(port), c.cmd.Process.Pid
	if err := t.ready(ctx, c); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

// ready asks for hello-ok until it comes.
func (t *Target) ready(ctx context.Context, c *child) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	o := client.Default()
	o.URL, o.Auth.Token = t.URL, t.Token
	for {
		conn, err := client.Dial(ctx, o)
		if err == nil {
			return conn.Close()
		}
		wait := time.NewTimer(50 * time.Millisecond)
		select {
		case <-wait.C:
			continue
		case <-c.done:
			err = errors.New("it ended at once")
		case <-ctx.Done():
		}
		wait.Stop()
		return fmt.Errorf("bench compare: %s did not become ready: %w; its last output:\n%s", t.Name, err, c.out)
	}
}

// stop asks the command to end, and after five seconds makes it.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	wait := time.NewTimer(5 * time.Second)
	defer wait.Stop()
	select {
	case <-c.done:
	case <-wait.C:
		_ = c.cmd.Process.Kill()
		<-c.done
	}
	_ = os.RemoveAll(c.state)
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if extra := len(t.b) - outputBytes; extra > 0 {
		t.b = append(t.b[:0], t.b[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}
