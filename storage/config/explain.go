package config

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Entry is one row of `sluice config explain`.
type Entry struct {
	Key     string   `json:"key"`
	Value   any      `json:"value"` // secrets redacted
	Source  string   `json:"source"`
	Default any      `json:"default"`
	Type    string   `json:"type"`
	Unit    string   `json:"unit,omitzero"`
	Bound   string   `json:"bound,omitzero"`
	Reload  string   `json:"reload"`
	Env     string   `json:"env"`
	Enum    []string `json:"enum,omitzero"`
	Doc     string   `json:"doc,omitzero"`
}

// Explain lists every key in the order of the registry with its value and where that
// comes from. prefix keeps keys at or below it; empty keeps all.
func Explain(s *Snapshot, prefix string) []Entry {
	redacted := s.Redacted()
	var out []Entry
	for _, f := range s.schema.Fields() {
		if f.Env == "" || prefix != "" && f.Key != prefix && !strings.HasPrefix(f.Key, prefix+".") {
			continue // rows of map entries belong to the row of the map
		}
		path, err := splitPath(f.Key)
		if err != nil {
			continue
		}
		v, _ := lookup(redacted, path)
		def := f.Default
		if text, ok := def.(string); ok && text != "" && f.Secret {
			def = Redacted
		}
		out = append(out, Entry{
			Key: f.Key, Value: v, Source: s.layers.origin(path).String(), Default: def, Type: f.TypeName(),
			Unit: f.Unit, Bound: f.Bound(), Reload: f.Reload, Env: f.Env, Enum: f.Enum, Doc: f.Doc,
		})
	}
	return out
}

// WriteExplain prints the rows as text: the key's value and source first, then what it
// could be.
func WriteExplain(w io.Writer, s *Snapshot, prefix string) error {
	file := s.Path
	if !s.Exists {
		file += " (not there: defaults hold)"
	}
	fmt.Fprintf(w, "config file: %s\n\n", file)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "KEY\tVALUE\tSOURCE\tDEFAULT\tBOUND\tMEANING")
	for _, e := range Explain(s, prefix) {
		bound := e.Bound
		if e.Unit != "" {
			bound = strings.TrimPrefix(bound+" "+e.Unit, " ")
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", e.Key, cell(e.Value), e.Source, cell(e.Default), bound, e.Doc)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, warning := range s.Warnings {
		fmt.Fprintln(w, "warning:", warning)
	}
	return nil
}

// cell is a value short enough for a table.
func cell(v any) string {
	if v == nil {
		return "-"
	}
	text := inline(v)
	if r := []rune(text); len(r) > 48 {
		text = string(r[:47]) + "…"
	}
	return text
}

// TypeName is the type in words: "list of string".
func (f *Field) TypeName() string {
	switch f.Kind {
	case KindList:
		return "list of " + f.elem.TypeName()
	case KindMap:
		return "map of " + f.elem.TypeName()
	}
	return string(f.Kind)
}

// Markdown writes docs/config.md: the one table of every key, limit and default.
func Markdown(s *Schema) string {
	var b strings.Builder
	b.WriteString(markdownHead)
	for _, sec := range s.sections {
		fmt.Fprintf(&b, "| `%s` | %s |\n", sec.Key, escapeCell(sec.Doc))
	}
	b.WriteString("\n## Keys\n\n| key | type | default | bound | reload | variable | meaning |\n|---|---|---|---|---|---|---|\n")
	for _, f := range s.Fields() {
		def, env, bound := "", "", f.Bound()
		if f.Unit != "" {
			bound = strings.TrimPrefix(bound+" "+f.Unit, " ")
		}
		if f.Default != nil {
			def = "`" + escapeCell(cell(f.Default)) + "`"
		}
		if f.Env != "" {
			env = "`" + f.Env + "`"
		}
		doc := f.Doc
		if f.Secret {
			doc = strings.TrimPrefix(doc+" Secret.", " ")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %s |\n", f.Key, f.TypeName(), def, escapeCell(bound), f.Reload, env, escapeCell(doc))
	}
	return b.String()
}

func escapeCell(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "|", "\\|"), "\n", " ")
}

const markdownHead = `# Configuration

Generated from the code; edit the Config structs, not this file.

Sources, weakest first: the defaults below, the file (` + "`sluice.json5`" + `, or TOML with the same
keys when its name ends in ` + "`.toml`" + `), the environment, flags. Objects merge key by key; lists and
single values of a later source replace those of an earlier one. An unknown key, a wrong type or
a value out of bounds stops the start with an error that names the key, where it stands and the
nearest right name; a running gateway that meets such a file keeps the last good one and says so.
` + "`sluice config explain`" + ` shows each value with its source, ` + "`sluice config check`" + ` judges a file.

The variable of a key is ` + "`SLUICE_`" + ` and the key in capitals, with ` + "`_`" + ` for a dot and before an inner
capital. Lists are comma separated (quote an entry with a comma or outer blanks: ` + "`\"git \",ls`" + `), maps
are ` + "`key=value`" + ` pairs, and any of them may be written as JSON5 that starts with ` + "`[`" + ` or ` + "`{`" + `.

"hot" keys are obeyed at once when the file changes, "restart" keys at the next start. In a key,
` + "`*`" + ` stands for a name of your choice and ` + "`[]`" + ` for an entry of a list.

## Sections

| section | what it configures |
|---|---|
`
