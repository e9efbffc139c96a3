//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// proc is a process that a test started in its own group, so that stopping it stops its children.
type proc struct {
	name string
	cmd  *exec.Cmd
	log  string // file with its output
	done chan struct{}
	err  error
}

// start runs a command until the test ends; its output goes to a file that a failure prints.
func start(tb testing.TB, name string, environ []string, args ...string) *proc {
	tb.Helper()
	log := filepath.Join(env.work, fmt.Sprintf("%s-%d.log", name, time.Now().UnixNano()))
	f, err := os.Create(log)
	if err != nil {
		tb.Fatal(err)
	}
	p := &proc{name: name, log: log, done: make(chan struct{}), cmd: exec.Command(args[0], args[1:]...)}
	p.cmd.Env = append(cleanEnv(), environ...)
	p.cmd.Stdout, p.cmd.Stderr = f, f
	p.cmd.Dir = env.work
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		tb.Fatalf("start %s: %v", name, err)
	}
	go func() { p.err = p.cmd.Wait(); _ = f.Close(); close(p.done) }()
	tb.Cleanup(func() {
		p.kill()
		if tb.Failed() {
			tb.Logf("last output of %s:\n%s", name, tail(log, 4000))
		}
	})
	return p
}

// kill ends the process group at once (kill -9) and waits for it.
func (p *proc) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// stop asks politely (SIGTERM) and waits up to a deadline.
func (p *proc) stop(tb testing.TB, deadline time.Duration) {
	tb.Helper()
	_ = syscall.Kill(p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(deadline):
		tb.Fatalf("%s did not end within %s of SIGTERM", p.name, deadline)
	}
}

// waitFor polls until ok says so; it fails when the process ends first or the deadline passes.
func (p *proc) waitFor(tb testing.TB, what string, deadline time.Duration, ok func() bool) {
	tb.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(deadline)
	for !ok() {
		select {
		case <-p.done:
			tb.Fatalf("%s ended before %s: %v\n%s", p.name, what, p.err, tail(p.log, 4000))
		case <-end:
			tb.Fatalf("%s: no %s within %s\n%s", p.name, what, deadline, tail(p.log, 4000))
		case <-tick.C:
		}
	}
}

func (p *proc) output() string {
	b, _ := os.ReadFile(p.log)
	return string(b)
}

// result of a command that ran to its end.
type result struct {
	stdout, stderr string
	code           int
}

// run executes a command to its end, bounded by a deadline.
func run(tb testing.TB, deadline time.Duration, environ []string, args ...string) result {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(cleanEnv(), environ...)
	cmd.Dir = env.work
	cmd.WaitDelay = 2 * time.Second
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	r := result{stdout: out.String(), stderr: errOut.String()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		tb.Fatalf("%s did not end within %s\nstdout: %s\nstderr: %s", strings.Join(args, " "), deadline, last(r.stdout, 3000), last(r.stderr, 3000))
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
	case err != nil:
		tb.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return r
}

// cleanEnv is the environment without what would lead a client or the server to another gateway.
func cleanEnv() []string {
	var kept []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case strings.HasPrefix(name, "OPENCLAW_"), strings.HasPrefix(name, "SLUICE_"), strings.HasPrefix(name, "OTEL_"), name == "HOME", strings.HasPrefix(name, "XDG_"), name == "GATEWAY", name == "PROXY", name == "TOKEN":
		default:
			kept = append(kept, kv)
		}
	}
	return append(kept, "HOME="+env.work, "NO_COLOR=1")
}

// eventually polls until ok says so.
func eventually(tb testing.TB, what string, deadline time.Duration, ok func() bool) {
	tb.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	end := time.After(deadline)
	for !ok() {
		select {
		case <-end:
			tb.Fatalf("not within %s: %s", deadline, what)
		case <-tick.C:
		}
	}
}

func tail(path string, n int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return last(string(b), n)
}

func last(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + s[len(s)-n:]
}
