package config

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// document is one parsed file.
type document struct {
	path   string
	exists bool
	raw    []byte
	tree   map[string]any
	root   *node // nil for TOML and for a missing file
	toml   bool
}

// isTOML decides the format by the file's ending; everything else is JSON5.
func isTOML(path string) bool { return strings.EqualFold(filepath.Ext(path), ".toml") }

// parseDocument reads a file's bytes.
func parseDocument(path string, raw []byte) (*document, error) {
	d := &document{path: path, exists: true, raw: raw, toml: isTOML(path)}
	var err error
	if d.toml {
		d.tree, err = parseTOML(raw)
		return d, err
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		d.tree = map[string]any{}
		return d, nil
	}
	if d.root, err = parseJSON5(raw); err != nil {
		return d, err
	}
	tree, ok := d.root.plain().(map[string]any)
	if !ok {
		return d, errors.New("the document must be an object: { … }")
	}
	d.tree = tree
	return d, nil
}

func missingDocument(path string) *document {
	return &document{path: path, toml: isTOML(path), tree: map[string]any{}}
}

// line returns the line of the deepest part of path that the file has. ok is false when
// the file does not say anything about the path.
func (d *document) line(path []string) (int, bool) {
	if d == nil || !d.exists {
		return 0, false
	}
	if d.root == nil {
		_, ok := lookupItems(d.tree, path)
		return 0, ok
	}
	n, at := d.root, -1
	for _, k := range path {
		if i, ok := itemIndex(k); ok && n.list {
			if i >= len(n.items) {
				return 0, false
			}
			n = n.items[i]
			at = n.start
			continue
		}
		found := false
		for i := range n.members {
			if n.members[i].key == k {
				at, n, found = n.members[i].keyStart, n.members[i].val, true
				break
			}
		}
		if !found {
			return 0, false
		}
	}
	if at < 0 {
		at = d.root.start
	}
	line, _ := position(d.raw, at)
	return line, true
}

func itemIndex(segment string) (int, bool) {
	if len(segment) < 3 || segment[0] != '[' || segment[len(segment)-1] != ']' {
		return 0, false
	}
	i, err := strconv.Atoi(segment[1 : len(segment)-1])
	return i, err == nil && i >= 0
}

func lookupItems(tree any, path []string) (any, bool) {
	for _, k := range path {
		if i, ok := itemIndex(k); ok {
			if l, isList := tree.([]any); isList {
				if i >= len(l) {
					return nil, false
				}
				tree = l[i]
				continue
			}
		}
		m, ok := tree.(map[string]any)
		if !ok {
			return nil, false
		}
		if tree, ok = m[k]; !ok {
			return nil, false
		}
	}
	return tree, true
}

func parseTOML(raw []byte) (tree map[string]any, err error) {
	tree = map[string]any{}
	if err := toml.Unmarshal(raw, &tree); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			row, col := at.Position()
			return nil, fmt.Errorf("TOML: %s at %d:%d", strings.TrimPrefix(at.Error(), "toml: "), row, col)
		}
		return nil, fmt.Errorf("TOML: %s", strings.TrimPrefix(err.Error(), "toml: "))
	}
	plain, err := fromTOML(tree, 0)
	if err != nil {
		return nil, err
	}
	return plain.(map[string]any), nil
}

// fromTOML leaves only the types that JSON has, with whole floats as int64.
func fromTOML(v any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("TOML: more than %d levels of nesting", maxDepth)
	}
	switch x := v.(type) {
	case map[string]any:
		for k, e := range x {
			p, err := fromTOML(e, depth+1)
			if err != nil {
				return nil, err
			}
			x[k] = p
		}
		return x, nil
	case []any:
		for i, e := range x {
			p, err := fromTOML(e, depth+1)
			if err != nil {
				return nil, err
			}
			x[i] = p
		}
		return x, nil
	case string, bool, int64:
		return x, nil
	case float64:
		if x != x || x > 1e308 || x < -1e308 {
			return nil, errors.New("TOML: inf and nan are not allowed in a configuration")
		}
		return wholeNumber(x), nil
	case fmt.Stringer: // dates and times: text here
		return x.String(), nil
	}
	return nil, fmt.Errorf("TOML: a value of type %T is not supported", v)
}

// hashRaw identifies a file's bytes: the sha256 of them in hex, or, with a key, an HMAC
// of that in the form that the real gateway sends, which does not let a reader of
// config.get guess a short secret by trying candidates.
func hashRaw(raw, key []byte) string {
	sum := sha256.Sum256(raw)
	text := hex.EncodeToString(sum[:])
	if len(key) == 0 {
		return text
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return "hmac-sha256:v1:" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
