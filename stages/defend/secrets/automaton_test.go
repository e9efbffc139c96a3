package secrets

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestLanes: reading a text in four parts side by side finds what reading it in one does.
func TestLanes(t *testing.T) {
	s, err := NewScanner([]byte("the-gateways-own-secret-which-is-long"))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range s.words {
		if w.length > longest {
			t.Errorf("a keyword of %d bytes is longer than a lane looks back (%d)", w.length, longest)
		}
	}
	pieces := []string{"ghp_", "-----BEGIN", "password", "hooks.slack.com/workflows/", "sk-", "the-gateways-own", " ", "x", "AKIA", "token: ", "eyJ", "\xff"}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var b strings.Builder
		for n := rng.IntN(400); b.Len() < n; {
			b.WriteString(pieces[rng.IntN(len(pieces))])
		}
		text := []byte(strings.Repeat(b.String(), 1+rng.IntN(3)))
		var hits [lanes][]hit
		s.auto.scan(&hits, text)
		if got, want := slices.Concat(hits[:]...), s.auto.run(nil, text, 0, 0); !slices.Equal(got, want) {
			t.Fatalf("%q: %v, want %v", text, got, want)
		}
	}
}
