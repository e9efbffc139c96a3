package main

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// layers are the house from the cellar up: a package imports its own layer's unit and
// what is below (design.md, "The house").
var layers = []string{"bufpool", "frames", "storage", "pipeline", "stages", "bench", "cmd"}

// imported is one package as `go list` sees it, without its tests.
type imported struct {
	ImportPath string
	Imports    []string
}

func packages(tb testing.TB) []imported {
	tb.Helper()
	// -e: a folder that somebody is just writing does not hide the others.
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", "sluice/...")
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("go list: %v", err)
	}
	var list []imported
	for dec := jsontext.NewDecoder(bytes.NewReader(out)); ; {
		var p imported
		if err := json.UnmarshalDecode(dec, &p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			tb.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, "sluice/")
		var own []string
		for _, i := range p.Imports {
			if rest, ok := strings.CutPrefix(i, "sluice/"); ok {
				own = append(own, rest)
			}
		}
		p.Imports = own
		list = append(list, p)
	}
	if len(list) < 30 {
		tb.Fatalf("go list gave %d packages", len(list))
	}
	return list
}

// TestArrows fails on any import that goes up or sideways. Tests may import what they
// need.
func TestArrows(t *testing.T) {
	for _, p := range packages(t) {
		for _, i := range p.Imports {
			if why := badArrow(p.ImportPath, i); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, i, why)
			}
		}
	}
}

// badArrow says why from may not import to; "" means that it may.
func badArrow(from, to string) string {
	a, b := layerOf(from), layerOf(to)
	isTest := strings.HasSuffix(from, "test") // a helper of tests may look anywhere below
	switch {
	case a < 0 || b < 0:
		return "one of them is no part of the house"
	case strings.HasSuffix(to, "test") && !isTest:
		return "a helper of tests in the program"
	case b > a:
		return "it is a layer above"
	case layers[b] == "cmd":
		return "nothing imports cmd"
	case layers[b] == "bench" && a > b && from != "cmd/sluice":
		return "bench is a command"
	case isTest:
		return ""
	case layers[a] == "stages" && layers[b] == "stages" && unit(from) != unit(to):
		return "stages do not know each other; what one must tell another travels in the Envelope"
	case isLeaf(to) && layers[a] != "cmd" && layers[a] != "bench" && unit(from) != unit(to):
		return "backends, adapters and defenders are imported by cmd only"
	case unit(from) == "stages/dispatch" && unit(to) == "stages/dispatch":
		return badDispatchArrow(from, to)
	}
	return ""
}

// dispatchOrder is the stage's own house: each imports only what stands before it.
var dispatchOrder = []string{"stages/dispatch", "stages/dispatch/sessionview", "stages/dispatch/agent/provider",
	"stages/dispatch/agent", "stages/dispatch/methods"}

func badDispatchArrow(from, to string) string {
	place := func(p string) int {
		if rest, ok := strings.CutPrefix(p, "stages/dispatch/methods/"); ok && rest != "" {
			p = "stages/dispatch/methods"
		}
		return slices.Index(dispatchOrder, p)
	}
	switch a, b := place(from), place(to); {
	case a < 0 || b < 0:
		return "unknown folder of dispatch: give it its place in dispatchOrder"
	case b >= a:
		return "families of methods do not know each other, and nothing knows them"
	}
	return ""
}

func layerOf(p string) int {
	top, _, _ := strings.Cut(p, "/")
	return slices.Index(layers, top)
}

// unit is what may import within itself: a stage, a backend's folder, a layer's rest.
func unit(p string) string {
	parts := strings.Split(p, "/")
	switch {
	case parts[0] == "stages" && len(parts) > 1:
		return path.Join(parts[:2]...)
	case isLeaf(p):
		return p
	}
	return parts[0]
}

// isLeaf: a backend, an adapter or a defender. They are chosen by cmd.
func isLeaf(p string) bool {
	dir := path.Dir(p)
	switch dir {
	case "stages/adapter", "stages/defend":
		return !strings.HasSuffix(p, "test")
	case "storage":
		return slices.Contains([]string{"bolt", "jsonfile", "sqlite", "nats"}, path.Base(p))
	}
	return false
}

// TestArrowsAreSeen is the test of the test.
func TestArrowsAreSeen(t *testing.T) {
	for _, tc := range []struct{ from, to, why string }{
		{"frames", "bufpool", ""},
		{"bufpool", "frames", "above"},
		{"storage", "frames", ""},
		{"frames/ws", "frames", ""},
		{"pipeline", "storage", ""},
		{"storage", "pipeline", "above"},
		{"pipeline", "stages/decode", "above"},
		{"stages/decode", "stages/dispatch", "know each other"},
		{"stages/dispatch/methods/system", "stages/schedule", "know each other"},
		{"stages/dispatch/methods/chat", "stages/dispatch/agent", ""},
		{"stages/dispatch/methods/chat", "stages/dispatch/methods/sessions", "families"},
		{"stages/dispatch/agent", "stages/dispatch/methods/chat", "families"},
		{"stages/dispatch", "stages/dispatch/agent", "families"},
		{"stages/dispatch/new", "stages/dispatch", "unknown folder"},
		{"stages/persist", "storage/bolt", "cmd only"},
		{"storage/auth", "storage/bolt", "cmd only"},
		{"storage/bolt", "storage", ""},
		{"stages/defend", "stages/defend/rules", ""},
		{"stages/adapter/hooks", "stages/defend/rules", "know each other"},
		{"cmd/sluice", "storage/bolt", ""},
		{"bench/load", "frames/client", ""},
		{"pipeline", "pipeline/pipelinetest", "helper of tests"},
		{"bench", "cmd/sluice", "above"},
		{"other", "frames", "no part"},
	} {
		got := badArrow(tc.from, tc.to)
		if (tc.why == "") != (got == "") || !strings.Contains(got, tc.why) {
			t.Errorf("%s -> %s: %q, want %q", tc.from, tc.to, got, tc.why)
		}
	}
}
