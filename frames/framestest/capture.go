// Package framestest holds what tests of the wire need: the recorded frames of real
// clients and of the real gateway, a table of raw RFC 6455 bytes, and a pair of
// connections in memory. It is imported by tests only.
package framestest

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The directions of a Record.
const (
	DirOpen        = "open"
	DirUpgraded    = "upgraded"
	DirToServer    = "c2s"
	DirToClient    = "s2c"
	DirPing        = "s2c-ping"
	DirServerClose = "s2c-close"
	DirClientClose = "c2s-close"
)

// Record is one line of a capture (protocol/wire.md section 0).
type Record struct {
	Cap string `json:"cap"`
	// T is when it was seen, in ms since the epoch.
	T int64 `json:"t"`
	// Conn numbers the connections of one capture.
	Conn int    `json:"conn"`
	Dir  string `json:"dir"`
	// Frame is what was sent: a JSON value, or a string holding what was no JSON, or
	// the base64 of a binary frame. Raw undoes that.
	Frame   jsontext.Value    `json:"frame"`
	Bytes   int               `json:"bytes"`
	Bin     bool              `json:"bin"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Code    int               `json:"code"`
	Reason  string            `json:"reason"`
	HTTP    jsontext.Value    `json:"http"`
}

// Raw returns the bytes of the frame as they went over the wire, but for white space.
// The recorder cut long frames that were no JSON; those are shorter here than Bytes.
func (r *Record) Raw() []byte {
	if r.Frame.Kind() != '"' {
		return r.Frame
	}
	var text string
	if err := json.Unmarshal(r.Frame, &text); err != nil {
		return r.Frame
	}
	if r.Bin {
		if b, err := base64.StdEncoding.DecodeString(text); err == nil {
			return b
		}
	}
	return []byte(text)
}

// ReadCapture reads a capture file.
func ReadCapture(path string) ([]Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the capture: %w", err)
	}
	defer f.Close()
	var list []Record
	for in, n := bufio.NewReader(f), 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if len(line) > 1 {
			var r Record
			if err := json.Unmarshal(line, &r); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, n, err)
			}
			list = append(list, r)
		}
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
}

// Captures reads every capture of the shared folder, by name. The test is skipped when
// there is no shared folder.
func Captures(tb testing.TB) map[string][]Record {
	tb.Helper()
	paths, err := filepath.Glob(filepath.Join(Shared(tb), "protocol", "captures", "*.jsonl"))
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no captures under %s: %v", Shared(tb), err)
	}
	all := make(map[string][]Record, len(paths))
	for _, p := range paths {
		records, err := ReadCapture(p)
		if err != nil {
			tb.Fatal(err)
		}
		all[filepath.Base(p)] = records
	}
	return all
}

// Shared returns the folder "shared" that lies beside the repository or above it, where
// the protocol's description, captures and parity cases are. The test is skipped when
// there is none: a checkout alone does not contain it.
func Shared(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		candidate := filepath.Join(dir, "shared")
		if _, err := os.Stat(filepath.Join(candidate, "protocol", "schema96.json")); err == nil {
			return candidate
		}
		up := filepath.Dir(dir)
		if up == dir {
			tb.Skip("no folder shared/ beside or above this checkout: the test needs its captures")
		}
		dir = up
	}
}

// ReadShared reads a file below the shared folder.
func ReadShared(tb testing.TB, elem ...string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{Shared(tb)}, elem...)...))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// ReadSharedJSON decodes a JSON file below the shared folder into v; names match without
// regard to case and underscores.
func ReadSharedJSON(tb testing.TB, v any, elem ...string) {
	tb.Helper()
	if err := json.Unmarshal(ReadShared(tb, elem...), v, json.MatchCaseInsensitiveNames(true)); err != nil {
		tb.Fatalf("%s: %v", filepath.Join(elem...), err)
	}
}
