package config

import (
	"fmt"
	"path/filepath"
	"strings"
)

// OriginKind says which source gave a value.
type OriginKind string

// The sources, weakest first.
const (
	OriginDefault OriginKind = "default"
	OriginFile    OriginKind = "file"
	OriginEnv     OriginKind = "env"
	OriginFlag    OriginKind = "flag"
)

// Origin is where a value came from.
type Origin struct {
	Kind OriginKind
	// Name is the file's path, the variable or the flag's key.
	Name string
	// Line is the 1-based line of the key in a JSON5 file, 0 when unknown.
	Line int
}

// String is short enough for a table: default, sluice.json5:12, env SLUICE_X, flag x.
func (o Origin) String() string {
	switch o.Kind {
	case OriginFile:
		if o.Line > 0 {
			return fmt.Sprintf("%s:%d", filepath.Base(o.Name), o.Line)
		}
		return filepath.Base(o.Name)
	case OriginEnv:
		return "env " + o.Name
	case OriginFlag:
		return "flag " + o.Name
	}
	return string(OriginDefault)
}

// setting is one environment variable or flag that was understood.
type setting struct {
	path []string
	name string
}

// layers are the four sources of one load.
type layers struct {
	doc      *document
	defaults map[string]any
	env      map[string]any
	flags    map[string]any
	envFrom  []setting
	flagFrom []setting
}

// merged is the effective tree.
func (l *layers) merged() map[string]any {
	var tree any = l.defaults
	tree = overlay(tree, l.doc.tree)
	tree = overlay(tree, l.env)
	tree = overlay(tree, l.flags)
	m, _ := tree.(map[string]any)
	return m
}

// origin finds the strongest source that gives the path, a part of it, or its parent.
func (l *layers) origin(path []string) Origin {
	if s := find(l.flagFrom, path); s != "" {
		return Origin{Kind: OriginFlag, Name: s}
	}
	if s := find(l.envFrom, path); s != "" {
		return Origin{Kind: OriginEnv, Name: s}
	}
	if l.doc != nil {
		if line, ok := l.doc.line(path); ok {
			return Origin{Kind: OriginFile, Name: l.doc.path, Line: line}
		}
	}
	return Origin{Kind: OriginDefault}
}

func find(settings []setting, path []string) string {
	for _, s := range settings {
		n := min(len(s.path), len(path))
		if strings.Join(s.path[:n], "\x00") == strings.Join(path[:n], "\x00") {
			return s.name
		}
	}
	return ""
}

// forget removes what environment and flags say of these keys.
func (l *layers) forget(paths [][]string) {
	for _, p := range paths {
		remove(l.env, p)
		remove(l.flags, p)
	}
}

func remove(tree map[string]any, path []string) {
	for len(path) > 1 {
		next, ok := tree[path[0]].(map[string]any)
		if !ok {
			return
		}
		tree, path = next, path[1:]
	}
	if len(path) == 1 {
		delete(tree, path[0])
	}
}
