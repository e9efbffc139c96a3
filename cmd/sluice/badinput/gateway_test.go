package badinput_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// token is the gateway's shared secret in every test.
const token = "badinput-token-0123456789"

// patience bounds every wait.
const patience = 15 * time.Second

// settings are dotted configuration keys and their values.
type settings map[string]any

// gateway is a running `sluice serve`.
type gateway struct {
	t       testing.TB
	root    string // holds state and work; nothing else may appear in it
	state   string
	addr    string // host:port
	pid     int
	base    level // what it held when it was idle at first
	out     *output
	stdin   io.WriteCloser // read by builds with a movable clock only
	ended   chan struct{}
	err     error // of the process, after ended
	stopped bool  // the test itself asked it to end
	// expectErrors lets a test cause lines of level ERROR in the log.
	expectErrors bool
}

// start runs a gateway until the test ends. Then it must be as it was at first: health
// answers, and goroutines, pooled buffers and open files are back where they were. Its
// log may hold no panic and no error, and SIGTERM must end it with status 0.
func start(t testing.TB, set settings) *gateway {
	t.Helper()
	g := spawn(t, set)
	t.Cleanup(g.stop)
	if g.addr = g.out.await(g, listening)[1]; g.addr == "" {
		t.Fatal("no address")
	}
	g.out.await(g, regexp.MustCompile(`(?m)^ready$`))
	for range 3 { // what the first clients make for good is no leak
		g.operator(t).bye()
		g.level()
	}
	g.base = g.idle(nil)
	t.Cleanup(func() { g.settled(t) })
	return g
}

var listening = regexp.MustCompile(`listening on ws://(\S+)`)

// spawn starts the process without waiting for it.
func spawn(t testing.TB, set settings) *gateway {
	t.Helper()
	g := &gateway{t: t, root: t.TempDir(), out: &output{}, ended: make(chan struct{})}
	g.state = filepath.Join(g.root, "state")
	work := filepath.Join(g.root, "work")
	for _, dir := range []string{g.state, work} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	writeConfig(t, filepath.Join(g.state, "sluice.json5"), set)
	args := []string{"serve", "--state", g.state}
	if set["gateway.listen"] == nil {
		args = append(args, "--listen", "127.0.0.1:0")
	}
	if set["gateway.auth.token"] == nil && set["gateway.auth.mode"] == nil {
		args = append(args, "--token", token)
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = work
	cmd.Env = []string{"HOME=" + work, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + work}
	cmd.Stdout, cmd.Stderr = g.out, g.out
	var err error
	if g.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g.pid = cmd.Process.Pid
	go func() { g.err = cmd.Wait(); close(g.ended) }()
	return g
}

// defended: what is blocked is said here and not by a model, and what a model fears is
// reported and passes, for these tests are about other things.
var defended = settings{"defend.review": "allow",
	"defend.rules.promptInjectionPatterns": []string{`ignore\s+all\s+previous\s+instructions`, `reveal\s+the\s+system\s+prompt`}}

// writeConfig writes dotted keys as nested JSON.
func writeConfig(t testing.TB, path string, set settings) {
	t.Helper()
	root := map[string]any{}
	for key, v := range defended.and(set) {
		at := root
		parts := strings.Split(key, ".")
		for _, p := range parts[:len(parts)-1] {
			next, ok := at[p].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[p] = next
			}
			at = next
		}
		at[parts[len(parts)-1]] = v
	}
	b, err := json.Marshal(root, json.Deterministic(true))
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// stop ends the process in order and reads its log.
func (g *gateway) stop() {
	_ = syscall.Kill(g.pid, syscall.SIGTERM)
	select {
	case <-g.ended:
	case <-time.After(patience):
		g.t.Error("SIGTERM did not end the gateway")
		_ = syscall.Kill(g.pid, syscall.SIGKILL)
		<-g.ended
	}
	log := g.out.String()
	if g.err != nil {
		g.t.Errorf("the gateway ended with %v", g.err)
	}
	for line := range strings.Lines(log) {
		bad := strings.Contains(line, "panic") || strings.Contains(line, "fatal error") || strings.Contains(line, "DATA RACE")
		if bad || !g.expectErrors && strings.Contains(line, "level=ERROR") {
			g.t.Errorf("in the log: %s", line)
		}
	}
	if g.t.Failed() {
		g.t.Logf("the end of the gateway's output:\n%s", log[max(0, len(log)-3000):])
	}
}

// output collects what the process writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// String implements fmt.Stringer.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// await waits for a line and returns its groups.
func (o *output) await(g *gateway, line *regexp.Regexp) (groups []string) {
	g.t.Helper()
	if !poll(func() bool {
		groups = line.FindStringSubmatch(o.String())
		return groups != nil || !g.alive()
	}) || groups == nil {
		g.t.Fatalf("the gateway did not say %s:\n%s", line, o)
	}
	return groups
}

func (g *gateway) alive() bool {
	select {
	case <-g.ended:
		return false
	default:
		return true
	}
}

// poll asks until ok says so or patience ends.
func poll(ok func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if ok() {
			return true
		}
	}
	return ok()
}

// level is what a gateway holds.
type level struct {
	goroutines, leases, frames, files int
	connections                       int
}

// above reports whether anything is held beyond base. A few goroutines and files come
// and go on their own: the store's pools, a commit, the scrape itself.
func (l level) above(base level) bool {
	return l.goroutines > base.goroutines+4 || l.leases > base.leases || l.frames > base.frames ||
		l.files > base.files+6 || l.connections > base.connections
}

var samples = regexp.MustCompile(`(?m)^(go_goroutines|sluice_leases_outstanding|sluice_inflight_frames|sluice_connections) (\S+)$`)

// level asks /metrics and counts open files.
func (g *gateway) level() level {
	g.t.Helper()
	res := g.http(g.t, "GET", "/metrics", "", "Authorization", "Bearer "+token)
	var l level
	for _, m := range samples.FindAllStringSubmatch(res.body, -1) {
		var n int
		if _, err := fmt.Sscan(m[2], &n); err != nil {
			g.t.Fatalf("/metrics: %s", m[0])
		}
		*map[string]*int{"go_goroutines": &l.goroutines, "sluice_leases_outstanding": &l.leases,
			"sluice_inflight_frames": &l.frames, "sluice_connections": &l.connections}[m[1]] = n
	}
	if l.goroutines == 0 {
		g.t.Fatalf("/metrics answered %d without go_goroutines: %.300s", res.StatusCode, res.body)
	}
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.pid))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		g.t.Fatal(err)
	}
	l.files = len(entries)
	return l
}

// idle polls until the level is the same twice and, when base is given, not above it.
func (g *gateway) idle(base *level) (now level) {
	g.t.Helper()
	last := level{}
	if !poll(func() bool {
		last, now = now, g.level()
		return now == last && (base == nil || !now.above(*base))
	}) && base == nil {
		g.t.Errorf("the gateway does not come to rest: %+v, %+v", last, now)
	}
	return now
}

// settled asserts that the gateway is alive and holds nothing beyond what it held at
// first. Tests whose subtests should not hide each other's leaks call it in between.
func (g *gateway) settled(t testing.TB) {
	t.Helper()
	if g.stopped {
		return
	}
	if !g.alive() {
		t.Errorf("the gateway ended: %v\n%s", g.err, g.out)
		return
	}
	p := g.operator(t)
	p.mustHealth()
	p.bye()
	if now := g.idle(&g.base); now.above(g.base) {
		t.Errorf("left over: %+v, at first it was %+v", now, g.base)
	}
}

// response is an HTTP answer whose body was read.
type response struct {
	*http.Response
	body string
}

// http sends one request on a connection of its own. headers are pairs.
func (g *gateway) http(t testing.TB, method, path, body string, headers ...string) response {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+g.addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := (&http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return response{res, string(b)}
}

// rawHTTP sends bytes as they are and reads one answer.
func (g *gateway) rawHTTP(t testing.TB, request string) response {
	t.Helper()
	c := g.tcp(t)
	defer c.Close()
	go func() { _, _ = io.WriteString(c, request) }() // the answer may come before the last byte went
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no HTTP answer: %v", err)
	}
	b, _ := io.ReadAll(res.Body) // the answer may be cut when its sender gives up on us
	return response{res, string(b)}
}

// terminate asks it to end.
func (g *gateway) terminate() {
	g.stopped = true
	_ = syscall.Kill(g.pid, syscall.SIGTERM)
}

// kill ends a process at once.
func (g *gateway) kill() {
	_ = syscall.Kill(g.pid, syscall.SIGKILL)
	<-g.ended
}
