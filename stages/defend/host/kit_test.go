package host

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/defend"
)

// memory is a Store of funcs over a map.
type memory struct {
	mu   sync.Mutex
	m    map[string][]byte
	fail error
}

func (s *memory) Get(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[key], s.fail
}

func (s *memory) Put(_ context.Context, key string, v []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	if s.m == nil {
		s.m = map[string][]byte{}
	}
	s.m[key] = append([]byte(nil), v...)
	return nil
}

// kit is a folder with a binary, a configuration that is missing, and a folder.
type kit struct {
	t       *testing.T
	dir     string
	store   memory
	changes []Change
	mu      sync.Mutex
	now     time.Time
}

func newKit(t *testing.T) *kit {
	k := &kit{t: t, dir: t.TempDir(), now: time.Now()}
	k.write("sluice", "binary")
	k.write("plugins/a", "one")
	return k
}

func (k *kit) path(name string) string { return filepath.Join(k.dir, name) }

func (k *kit) write(name, text string) {
	k.t.Helper()
	if err := os.MkdirAll(filepath.Dir(k.path(name)), 0o700); err != nil {
		k.t.Fatal(err)
	}
	temp := k.path(name) + ".new"
	if err := os.WriteFile(temp, []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
	if err := os.Rename(temp, k.path(name)); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kit) open(change ...func(*Config)) *Guard {
	k.t.Helper()
	cfg := Default()
	cfg.Paths = []string{k.path("plugins")}
	for _, c := range change {
		c(&cfg)
	}
	g, err := New(k.t.Context(), cfg, Deps{Store: &k.store, Now: func() time.Time { return k.now },
		Files: []Protected{{"the running binary", k.path("sluice")}, {"the configuration", k.path("config.json")}},
		Changed: func(_ context.Context, c Change) {
			k.mu.Lock()
			k.changes = append(k.changes, c)
			k.mu.Unlock()
		}})
	if err != nil {
		k.t.Fatal(err)
	}
	return g
}

// said returns what was told since the last call.
func (k *kit) said() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []string
	for _, c := range k.changes {
		out = append(out, strings.TrimSpace(c.What+" "+strings.TrimPrefix(c.Path, k.dir+"/")))
	}
	k.changes = nil
	return strings.Join(out, ", ")
}

func decide(t *testing.T, g *Guard) pipeline.Decision {
	t.Helper()
	s, err := defend.New(defend.Default(), []defend.Defender{g}, defend.Deps{Resume: func(*pipeline.Envelope, error) {}})
	if err != nil {
		t.Fatal(err)
	}
	return s.Evaluate(t.Context(), &defend.Action{Prompts: [][]byte{[]byte("hello")}})
}
