package ledger

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// Formats of an export.
const (
	FormatJSON = "json" // one entry a line
	FormatCSV  = "csv"
)

// Export writes the entries that f chooses, all of them unless f has a limit. When lines
// are damaged the others are written and ErrDamaged is returned.
func (r *Reader) Export(ctx context.Context, w io.Writer, format string, f Filter) error {
	out := bufio.NewWriter(w)
	var put func(*Entry) error
	var table *csv.Writer
	switch format {
	case FormatJSON:
		put = func(e *Entry) error {
			if err := json.MarshalWrite(out, e, json.Deterministic(true)); err != nil {
				return err
			}
			return out.WriteByte('\n')
		}
	case FormatCSV:
		table = csv.NewWriter(out)
		if err := table.Write(csvColumns); err != nil {
			return err
		}
		put = func(e *Entry) error { return table.Write(csvRow(e)) }
	default:
		return fmt.Errorf("ledger: %q is no format of an export: json or csv", format)
	}
	segments, err := r.segments(f)
	if err != nil {
		return err
	}
	var failed error
	count := 0
	err = r.each(ctx, segments, f, func(e *Entry) bool {
		failed = put(e)
		count++
		return failed == nil && (f.Limit <= 0 || count < f.Limit)
	})
	if table != nil {
		table.Flush()
		failed = errors.Join(failed, table.Error())
	}
	return errors.Join(failed, out.Flush(), err)
}

var csvColumns = []string{"seq", "at", "kind", "action", "risk", "tags", "reasons", "source", "method", "sessionKey",
	"requestId", "contentSha256", "contentBytes", "contentRedacted", "contentEncrypted", "file", "releases", "prev", "hash"}

func csvRow(e *Entry) []string {
	releases := make([]string, len(e.Releases))
	for i, seq := range e.Releases {
		releases[i] = strconv.FormatUint(seq, 10)
	}
	row := []string{strconv.FormatUint(e.Seq, 10), time.UnixMilli(e.AtMs).UTC().Format("2006-01-02T15:04:05.000Z"),
		string(e.Kind), e.Action, strconv.Itoa(e.Risk), strings.Join(e.Tags, " "), strings.Join(e.Reasons, "; "), e.Source,
		e.Method, e.SessionKey, e.RequestID, e.ContentSHA256, strconv.Itoa(e.ContentBytes), e.ContentRedacted,
		e.ContentEncrypted, e.File, strings.Join(releases, " "), e.Prev, e.Hash}
	for i := range row {
		row[i] = inert(row[i])
	}
	return row
}

// inert keeps a spreadsheet from taking an attacker's text for a formula.
func inert(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
