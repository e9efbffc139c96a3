package sessions

import (
	"context"
	"sort"
	"strings"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch/sessionview"
	"sluice/storage"

	"github.com/go-json-experiment/json/jsontext"
)

type listParams struct {
	Limit              int            `json:"limit"`
	Offset             int            `json:"offset"`
	ActiveMinutes      int64          `json:"activeMinutes"`
	ActiveOnly         bool           `json:"activeOnly"`
	RequireInteraction bool           `json:"requireLastInteraction"`
	SortBy             string         `json:"sortBy"`
	DerivedTitles      bool           `json:"includeDerivedTitles"`
	LastMessage        bool           `json:"includeLastMessage"`
	ExcludeSubagents   bool           `json:"excludeSubagents"`
	ExcludeCron        bool           `json:"excludeCron"`
	Label              string         `json:"label"`
	Pinned             *bool          `json:"pinned"`
	AgentID            string         `json:"agentId"`
	Search             string         `json:"search"`
	Archived           jsontext.Value `json:"archived"`
}

// Bounds of one list (openclaw.md 3.2: 100 by default).
const (
	defaultList = 100
	maxList     = 1000
)

// list answers sessions.list.
func (f *Family) list(ctx context.Context, e *pipeline.Envelope) error {
	v, err := f.listOf(ctx, e.Frame.Params)
	if err != nil {
		return err
	}
	return e.AnswerValue(v)
}

// listResult is the answer of sessions.list.
type listResult struct {
	TS           int64                `json:"ts"`
	Path         string               `json:"path"`
	Count        int                  `json:"count"`
	TotalCount   int                  `json:"totalCount"`
	LimitApplied int                  `json:"limitApplied"`
	NextOffset   *int                 `json:"nextOffset"`
	HasMore      bool                 `json:"hasMore"`
	Owners       []string             `json:"owners"`
	Defaults     sessionview.Defaults `json:"defaults"`
	Sessions     []sessionview.Row    `json:"sessions"`
}

func (f *Family) listOf(ctx context.Context, params []byte) (*listResult, error) {
	var p listParams
	if err := frames.UnmarshalParams(params, &p); err != nil {
		return nil, err
	}
	out := &listResult{TS: nowMs(), Path: f.deps.StorePath, LimitApplied: defaultList, Owners: []string{}, Sessions: []sessionview.Row{},
		Defaults: sessionview.DefaultsOf(f.deps.Runs.Model(frames.DefaultAgent))}
	if p.Limit > 0 {
		out.LimitApplied = min(p.Limit, maxList)
	}
	err := f.deps.Store.View(ctx, func(r storage.Reader) error {
		found, err := p.find(r, f)
		if err != nil {
			return err
		}
		out.TotalCount = len(found)
		first := min(p.Offset, len(found))
		for _, hit := range found[first:min(first+out.LimitApplied, len(found))] {
			s, err := storage.GetSession(r, hit.key)
			if err != nil {
				return err
			}
			row := f.row(&s)
			if err := f.decorate(r, &row, &s, p.DerivedTitles, p.LastMessage); err != nil {
				return err
			}
			out.Sessions = append(out.Sessions, row)
		}
		return nil
	})
	out.Count = len(out.Sessions)
	if end := p.Offset + out.Count; end < out.TotalCount {
		out.NextOffset, out.HasMore = &end, true
	}
	return out, err
}

// hit is a session that is listed, and its place.
type hit struct {
	key string
	at  int64
}

// find returns what the params ask for, the newest first. It looks at every session and
// keeps two words of each: a list is sorted before it is cut.
func (p *listParams) find(r storage.Reader, f *Family) ([]hit, error) {
	no, yes := false, true
	fl := storage.SessionFilter{AgentID: p.AgentID, Archived: &no}
	switch string(p.Archived) {
	case "true":
		fl.Archived = &yes
	case `"all"`:
		fl.Archived = nil
	}
	if p.ActiveMinutes > 0 {
		fl.UpdatedFromMs = nowMs() - p.ActiveMinutes*60_000
	}
	var found []hit
	search := strings.ToLower(p.Search)
	fl.Match = func(row *storage.SessionRow) bool {
		if p.takes(row, search, f) {
			at := row.UpdatedAtMs
			if p.SortBy == "lastInteractionAt" || p.SortBy == "activity" {
				at = row.LastInteractionAtMs
			}
			found = append(found, hit{row.Key, at})
		}
		return false
	}
	if _, err := storage.ListSessions(r, fl); err != nil {
		return nil, err
	}
	sort.SliceStable(found, func(i, j int) bool { return found[i].at > found[j].at })
	return found, nil
}

func (p *listParams) takes(row *storage.SessionRow, search string, f *Family) bool {
	switch {
	case p.Label != "" && row.Label != p.Label,
		p.Pinned != nil && row.Pinned != *p.Pinned,
		p.RequireInteraction && row.LastInteractionAtMs == 0,
		p.ExcludeSubagents && strings.Contains(row.Key, ":subagent:"),
		p.ExcludeCron && strings.Contains(row.Key, "cron:"),
		search != "" && !strings.Contains(strings.ToLower(row.Key+" "+row.Label), search),
		p.ActiveOnly && len(f.deps.Live(row.Key).ActiveRunIDs) == 0:
		return false
	}
	return true
}
