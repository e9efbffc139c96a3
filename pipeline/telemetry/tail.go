package telemetry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Bounds of logs.tail; the real gateway's.
const (
	tailLimit    = 500
	tailMaxLimit = 5000
	tailBytes    = 250_000
	tailMaxBytes = 1_000_000
)

// TailParams are the params of logs.tail; nil and 0 mean the default.
type TailParams struct {
	Cursor   *int64 // where the last answer ended; nil reads the end of the file
	Limit    int    // lines: default 500, at most 5 000
	MaxBytes int    // default 250 000, at most 1 000 000
}

// TailResult is the payload of logs.tail (LogsTailResult). Cursor and Size are offsets in
// the current file; after a rotation the file is shorter than the cursor and Reset says
// that the answer starts anew.
type TailResult struct {
	File         string   `json:"file"`
	Cursor       int64    `json:"cursor"`
	Size         int64    `json:"size"`
	Lines        []string `json:"lines"`
	Truncated    bool     `json:"truncated"`
	Reset        bool     `json:"reset"`
	SkippedBytes *int64   `json:"skippedBytes,omitzero"`
}

// tailFile reads whole lines as the real gateway's log-tail module does: from the cursor,
// or as many as fit at the end, never half a line.
func tailFile(path string, p TailParams) (*TailResult, error) {
	limit, maxBytes := clamp(p.Limit, tailLimit, tailMaxLimit), int64(clamp(p.MaxBytes, tailBytes, tailMaxBytes))
	out := &TailResult{File: path, Lines: []string{}}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		out.Reset = p.Cursor != nil && *p.Cursor > 0
		return out, nil
	}
	if err != nil {
		return nil, fmt.Errorf("log read failed: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("log read failed: %w", err)
	}
	out.Size = info.Size()
	start := out.window(p.Cursor, maxBytes)
	if out.Cursor = out.Size; start >= out.Size {
		return out, nil
	}
	buf := make([]byte, out.Size-start)
	n, err := f.ReadAt(buf, start)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("log read failed: %w", err)
	}
	buf = buf[:n]
	whole := bytes.LastIndexByte(buf, '\n') + 1
	out.Cursor = start + int64(whole)
	buf = buf[:whole]
	if start > 0 {
		var before [1]byte
		if _, err := f.ReadAt(before[:], start-1); err != nil || before[0] != '\n' {
			buf = buf[bytes.IndexByte(buf, '\n')+1:] // the window starts inside a line
		}
	}
	out.lines(string(buf), limit)
	return out, nil
}

// window decides where to start reading.
func (r *TailResult) window(cursor *int64, maxBytes int64) (start int64) {
	last := max(0, r.Size-maxBytes)
	switch {
	case cursor == nil:
		r.Truncated = last > 0
		return last
	case *cursor > r.Size: // rotated or cut
		r.Reset, r.Truncated = true, last > 0
		return last
	case r.Size-*cursor > maxBytes: // too far behind
		skipped := last - *cursor
		r.Reset, r.Truncated, r.SkippedBytes = true, true, &skipped
		return last
	}
	return max(0, *cursor)
}

func (r *TailResult) lines(text string, limit int) {
	text = strings.TrimSuffix(text, "\n")
	if text == "" {
		return
	}
	all := strings.Split(text, "\n")
	if len(all) > limit {
		r.Truncated = true
		all = all[len(all)-limit:]
	}
	for i, l := range all {
		all[i] = strings.ToValidUTF8(l, "\ufffd")
	}
	r.Lines = all
}

func clamp(v, def, most int) int {
	if v <= 0 {
		return def
	}
	return min(v, most)
}
