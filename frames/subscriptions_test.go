package frames

import (
	"fmt"
	"sync"
	"testing"
)

// TestSubscriptionCount: the count is of connections, not of subscriptions, and a
// connection that has ended leaves it whatever it still does.
func TestSubscriptionCount(t *testing.T) {
	var n SubscriptionCount
	want := func(sessions, keyed int64) {
		t.Helper()
		if n.Sessions() != sessions || n.Keyed() != keyed {
			t.Errorf("%d and %d, want %d and %d", n.Sessions(), n.Keyed(), sessions, keyed)
		}
	}
	var a, b Subscriptions
	a.CountIn(&n)
	b.CountIn(&n)
	a.SetSessions(true)
	a.SetSessions(true)
	b.Add("x", SubscriptionOptions{})
	b.Add("x", SubscriptionOptions{IncludeApprovals: true})
	b.Add("y", SubscriptionOptions{})
	want(1, 1)
	b.Remove("nosuch")
	b.Remove("x")
	want(1, 1)
	b.Remove("y")
	a.SetSessions(false)
	want(0, 0)
	a.SetSessions(true)
	a.Add("z", SubscriptionOptions{})
	want(1, 1)
	a.End()
	a.End()
	want(0, 0)
	if a.SetSessions(true); !a.Add("z", SubscriptionOptions{}) {
		t.Error("a connection that has ended is told that it has too many subscriptions")
	}
	want(0, 0)
	if _, ok := a.Has("z"); ok || a.Sessions() {
		t.Error("a connection that has ended has subscriptions")
	}
}

func TestSubscriptionCountConcurrently(t *testing.T) {
	var n SubscriptionCount
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			var s Subscriptions
			s.CountIn(&n)
			var both sync.WaitGroup
			for k := range 2 {
				both.Go(func() {
					for i := range 200 {
						s.SetSessions(i%2 == 0)
						s.Add(fmt.Sprint(k, i%3), SubscriptionOptions{})
						s.Remove(fmt.Sprint(k, (i+1)%3))
					}
				})
			}
			both.Go(s.End)
			both.Wait()
		})
	}
	wg.Wait()
	if n.Sessions() != 0 || n.Keyed() != 0 {
		t.Errorf("%d and %d are left", n.Sessions(), n.Keyed())
	}
}

// deaf is a Broadcaster that nobody listens to; unaware does not know.
type deaf struct{ unaware }

func (deaf) Wanted(*Event) bool { return false }

type unaware struct{}

func (unaware) Broadcast(Event) {}

func TestWanted(t *testing.T) {
	if Wanted(deaf{}, &Event{}) || !Wanted(unaware{}, &Event{}) {
		t.Error("who does not know gets the event; who says no does not")
	}
}
