package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
)

// Snapshot is one valid configuration. It is immutable: whoever gets one may keep it and
// must not write to the maps and slices in it.
type Snapshot struct {
	// Path is the config file; Exists says whether it was there.
	Path   string
	Exists bool
	// Hash identifies the file's bytes, as config.get shows it; without a file it is that
	// of no bytes, because clients require one.
	Hash string
	// LoadedAtMs is when it was read, Unix ms.
	LoadedAtMs int64
	// Warnings are what is allowed but unwise, one sentence each.
	Warnings []string

	schema    *Schema
	layers    *layers
	effective map[string]any
	values    map[string]reflect.Value
}

// Of returns a section's Config. It fails when the section is not registered or has
// another type, which is a mistake in cmd's list.
func Of[T any](s *Snapshot, key string) (T, error) {
	var zero T
	v, ok := s.values[key]
	if !ok {
		return zero, fmt.Errorf("config: no section %q is registered", key)
	}
	c, ok := v.Interface().(T)
	if !ok {
		return zero, fmt.Errorf("config: section %q is a %s, not a %T", key, v.Type(), zero)
	}
	return c, nil
}

// Value returns the effective plain value of a dotted key (map[string]any, []any,
// string, bool, int64, float64), secrets included.
func (s *Snapshot) Value(key string) (any, bool) {
	path, err := splitPath(key)
	if err != nil {
		return nil, false
	}
	v, ok := lookup(s.effective, path)
	return clonePlain(v), ok
}

// Origin says where the value of a dotted key comes from.
func (s *Snapshot) Origin(key string) Origin {
	path, err := splitPath(key)
	if err != nil {
		return Origin{Kind: OriginDefault}
	}
	return s.layers.origin(path)
}

// Redacted returns the effective configuration without its secrets.
func (s *Snapshot) Redacted() map[string]any {
	m, _ := s.schema.redactTree(s.effective, nil).(map[string]any)
	return m
}

// RevisionHash identifies what the file says, independent of its spelling: the
// configRevisionHash and appliedConfigHash of config.get and of the hello snapshot.
func (s *Snapshot) RevisionHash() string { return revisionHash(s.layers.doc.tree) }

func revisionHash(tree map[string]any) string {
	sum := sha256.Sum256(marshal(tree))
	return hex.EncodeToString(sum[:])
}

// Diff lists the keys whose effective values differ between two snapshots.
func Diff(a, b *Snapshot) []string { return diffPaths(a.effective, b.effective, nil) }

// needRestart keeps the changed keys that a running gateway does not obey.
func (s *Schema) needRestart(keys []string) []string {
	var out []string
	for _, k := range keys {
		path, err := splitPath(k)
		if err != nil {
			out = append(out, k)
			continue
		}
		if f := s.at(path); f == nil || f.Reload != ReloadHot {
			out = append(out, k)
		}
	}
	return out
}

// shadowed lists the keys of a file that the environment or a flag overrides, so that
// somebody who writes the file learns why nothing happens.
func (l *layers) shadowed(keys []string) (paths [][]string, notes []string) {
	for _, k := range keys {
		path, err := splitPath(k)
		if err != nil {
			continue
		}
		if o := l.origin(path); o.Kind == OriginEnv || o.Kind == OriginFlag {
			paths = append(paths, path)
			notes = append(notes, fmt.Sprintf("%s is set by %s, which wins over the file", k, o))
		}
	}
	return paths, notes
}
