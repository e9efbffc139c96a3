package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/defend"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDisk = errors.New("disk")

// memory is a State over a map.
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
	if s.fail == nil {
		s.m[key] = append([]byte(nil), v...)
	}
	return s.fail
}

func newMemory() *memory { return &memory{m: map[string][]byte{}} }

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
}

func mustNew(tb testing.TB, cfg Config, deps Deps) *Policy {
	tb.Helper()
	p, err := New(tb.Context(), cfg, deps)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// bare has no weights, so that a test sees what it is about.
func bare() Config {
	c := Default()
	c.ToolRisk, c.ChannelRisk = nil, nil
	return c
}

func judge(tb testing.TB, p *Policy, a *defend.Action) string {
	tb.Helper()
	s, err := defend.New(defend.Default(), []defend.Defender{p}, defend.Deps{Resume: func(*pipeline.Envelope, error) {}})
	if err != nil {
		tb.Fatal(err)
	}
	d := s.Evaluate(tb.Context(), a)
	return strings.TrimSpace(fmt.Sprintf("%s %d %s", d.Action, d.Risk, strings.Join(d.Tags, " ")))
}

func call(session, tool, command string) *defend.Action {
	a := &defend.Action{SessionKey: session}
	if tool != "" {
		a.Tools = [][]byte{[]byte(tool)}
	}
	if command != "" {
		a.Commands = [][]byte{[]byte(command)}
	}
	return a
}
