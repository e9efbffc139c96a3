package config

// GetResult is the payload of config.get, field for field as the real gateway sends it
// (examples.json); what Sluice does not have (includes, an agent roster of its own,
// legacy keys) is empty.
type GetResult struct {
	Path                    string         `json:"path"`
	IncludedPaths           []string       `json:"includedPaths"`
	IncludeProvenance       []string       `json:"includeProvenance"`
	AgentRosterIncludeOwned bool           `json:"agentRosterIncludeOwned"`
	BindingsIncludeOwned    bool           `json:"bindingsIncludeOwned"`
	Exists                  bool           `json:"exists"`
	Raw                     *string        `json:"raw"`    // the file's text without secrets; null when invalid or missing
	Parsed                  map[string]any `json:"parsed"` // what the file says
	SourceConfig            map[string]any `json:"sourceConfig"`
	Resolved                map[string]any `json:"resolved"`
	Valid                   bool           `json:"valid"`
	RuntimeConfig           map[string]any `json:"runtimeConfig"` // with defaults, environment and flags
	Config                  map[string]any `json:"config"`
	Hash                    string         `json:"hash"`
	Issues                  []Issue        `json:"issues"`
	Warnings                []Issue        `json:"warnings"`
	LegacyIssues            []Issue        `json:"legacyIssues"`
	ConfigRevisionHash      *string        `json:"configRevisionHash"`
	AppliedConfigHash       *string        `json:"appliedConfigHash"`
}

// Get reads the file as it is now and returns it without secrets. It does not change
// what is in force: AppliedConfigHash is that of Current.
func (m *Manager) Get() (*GetResult, error) {
	disk, err := m.disk()
	if err != nil {
		return nil, err
	}
	applied := m.cur.Load().RevisionHash()
	g := &GetResult{
		Path: m.opts.Path, Exists: disk.doc.exists, Hash: disk.hash,
		IncludedPaths: []string{}, IncludeProvenance: []string{},
		Issues: []Issue{}, Warnings: []Issue{}, LegacyIssues: []Issue{},
		SourceConfig: map[string]any{}, Resolved: map[string]any{},
		RuntimeConfig: map[string]any{}, Config: map[string]any{},
		AppliedConfigHash: &applied,
	}
	if disk.snap == nil {
		g.Issues = issuesOf(disk.err)
		return g, nil
	}
	g.Valid = true
	source, _ := m.opts.Schema.redactTree(disk.doc.tree, nil).(map[string]any)
	runtime := disk.snap.Redacted()
	g.Raw = m.opts.Schema.redactRaw(disk.doc)
	g.Parsed, g.SourceConfig, g.Resolved = source, source, source
	g.RuntimeConfig, g.Config = runtime, runtime
	revision := disk.snap.RevisionHash()
	g.ConfigRevisionHash = &revision
	for _, w := range m.cur.Load().Warnings {
		g.Warnings = append(g.Warnings, Issue{Message: w})
	}
	return g, nil
}

func issuesOf(err error) []Issue {
	if inv, ok := err.(*InvalidError); ok {
		return inv.Issues
	}
	return []Issue{{Message: err.Error()}}
}
