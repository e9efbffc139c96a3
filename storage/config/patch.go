package config

import (
	"regexp"
	"strings"
)

// The rules of the real gateway's config.patch (its merge-patch and patch-replace-paths
// modules): an RFC 7396 merge in which arrays of objects with ids merge by id, and an
// array never loses entries unless the caller lists its path in replacePaths.

// blockedKeys name nothing in a lookup, as upstream. In a document they are unknown keys
// like any other: upstream drops them in silence.
var blockedKeys = map[string]bool{"__proto__": true, "constructor": true, "prototype": true}

var innerIndex = regexp.MustCompile(`\[\d+\]\.`)

// normalReplacePaths makes a[0].b and a[].b the same, and a[] the same as a.
func normalReplacePaths(paths []string) map[string]bool {
	out := make(map[string]bool, len(paths))
	for _, p := range paths {
		p = strings.TrimSuffix(strings.TrimSpace(p), "[]")
		if p = innerIndex.ReplaceAllString(p, "[]."); p != "" {
			out[p] = true
		}
	}
	return out
}

// patchPath is upstream's dotted form, without quoting: replacePaths are compared to it.
func patchPath(parent, key string) string {
	if parent == "" {
		return key
	}
	return parent + "." + key
}

// mergePatch applies patch to base; neither is changed.
func mergePatch(base, patch any, replace map[string]bool, path string) any {
	pm, ok := patch.(map[string]any)
	if !ok {
		return clonePlain(patch)
	}
	bm, _ := base.(map[string]any)
	out := make(map[string]any, len(bm)+len(pm))
	for k, v := range bm {
		out[k] = v
	}
	for k, v := range pm {
		p := patchPath(path, k)
		switch {
		case v == nil:
			delete(out, k)
		default:
			bl, isList := out[k].([]any)
			pl, patchesList := v.([]any)
			if isList && patchesList && !replace[p] && keyedByID(bl) {
				out[k] = mergeByID(bl, pl, replace, p)
				continue
			}
			out[k] = mergePatch(out[k], v, replace, p)
		}
	}
	return out
}

// mergeByID updates entries with a known id and appends the others.
func mergeByID(base, patch []any, replace map[string]bool, path string) []any {
	out := append([]any(nil), base...)
	at := make(map[string]int, len(base))
	for i, e := range base {
		at[itemID(e)] = i
	}
	for _, e := range patch {
		id := itemID(e)
		if i, known := at[id]; id != "" && known {
			out[i] = mergePatch(out[i], e, replace, path+"[]")
			continue
		}
		if id != "" {
			at[id] = len(out)
		}
		out = append(out, clonePlain(e))
	}
	return out
}

// keyedByID reports whether every entry is an object with an id; true for an empty list.
func keyedByID(l []any) bool {
	for _, e := range l {
		if itemID(e) == "" {
			return false
		}
	}
	return true
}

// checkDuplicateIDs refuses a patch that could mean two things.
func checkDuplicateIDs(current, patch any, replace map[string]bool, path string) error {
	switch p := patch.(type) {
	case []any:
		c, ok := current.([]any)
		if !ok || replace[path] || !keyedByID(c) {
			return nil
		}
		byID := make(map[string]any, len(c))
		for _, e := range c {
			id := itemID(e)
			if _, dup := byID[id]; dup {
				return refuse("Cannot ID-merge array at %s: current config contains duplicate ID %s; use replacePaths for an explicit replacement.", rootLabel(path), id)
			}
			byID[id] = e
		}
		seen := map[string]bool{}
		for _, e := range p {
			id := itemID(e)
			if id == "" {
				continue
			}
			if seen[id] {
				return refuse("Ambiguous duplicate ID %s in array at %s.", id, rootLabel(path))
			}
			seen[id] = true
			if have, ok := byID[id]; ok {
				if err := checkDuplicateIDs(have, e, replace, path+"[]"); err != nil {
					return err
				}
			}
		}
	case map[string]any:
		c, ok := current.(map[string]any)
		if !ok {
			return nil
		}
		for _, k := range sortedKeys(p) {
			if err := checkDuplicateIDs(c[k], p[k], replace, patchPath(path, k)); err != nil {
				return err
			}
		}
	}
	return nil
}

func rootLabel(path string) string {
	if path == "" {
		return "<root>"
	}
	return path
}

// destroyedArrays lists the arrays of base that would lose entries by the patch.
func destroyedArrays(base, patch, merged any, path string) []string {
	pm, ok1 := patch.(map[string]any)
	bm, ok2 := base.(map[string]any)
	if !ok1 || !ok2 {
		return nil
	}
	mm, _ := merged.(map[string]any)
	var out []string
	for _, k := range sortedKeys(pm) {
		p := patchPath(path, k)
		bl, isList := bm[k].([]any)
		pl, patchesList := pm[k].([]any)
		_, patchesObject := pm[k].(map[string]any)
		switch {
		case isList && !patchesList:
			out = append(out, p)
		case isList:
			out = append(out, destroyedEntries(bl, pl, mm[k], p)...)
		case isObject(bm[k]) && !patchesObject:
			out = append(out, arraysBelow(bm[k], p)...)
		case patchesObject:
			out = append(out, destroyedArrays(bm[k], pm[k], mm[k], p)...)
		}
	}
	return out
}

func destroyedEntries(base, patch []any, merged any, path string) []string {
	ml, ok := merged.([]any)
	if !ok {
		return nil
	}
	if !keyedByID(base) {
		if preserves(base, ml) {
			return nil
		}
		return []string{path}
	}
	mergedByID, baseByID := map[string]any{}, map[string]any{}
	for _, e := range ml {
		mergedByID[itemID(e)] = e
	}
	for _, e := range base {
		if mergedByID[itemID(e)] == nil {
			return []string{path}
		}
		baseByID[itemID(e)] = e
	}
	var out []string
	for _, e := range patch {
		if id := itemID(e); id != "" && baseByID[id] != nil {
			out = append(out, destroyedArrays(baseByID[id], e, mergedByID[id], path+"[]")...)
		}
	}
	return out
}

// preserves reports whether every entry of base is still in merged, counting doubles.
func preserves(base, merged []any) bool {
	left := make(map[string]int, len(merged))
	for _, m := range merged {
		left[inline(m)]++
	}
	for _, b := range base {
		text := inline(b)
		if left[text] == 0 {
			return false
		}
		left[text]--
	}
	return true
}

func arraysBelow(v any, path string) []string {
	if _, ok := v.([]any); ok {
		return []string{path}
	}
	m, _ := v.(map[string]any)
	var out []string
	for _, k := range sortedKeys(m) {
		out = append(out, arraysBelow(m[k], patchPath(path, k))...)
	}
	return out
}

// project maps a submitted document, which clients derive from the effective config,
// back onto what the file says: values that equal the effective ones and that the file
// does not have (defaults, environment, flags) are not written into it.
func project(source, runtime, candidate any) any {
	out, changed := projectAt(source, runtime, candidate, true)
	if !changed {
		return clonePlain(source)
	}
	return out
}

func projectAt(source, runtime, candidate any, inRuntime bool) (any, bool) {
	if inRuntime && equal(runtime, candidate) {
		return nil, false
	}
	cm, ok := candidate.(map[string]any)
	if !ok {
		return clonePlain(candidate), true
	}
	sm, _ := source.(map[string]any)
	rm, runtimeIsObject := runtime.(map[string]any)
	out, _ := clonePlain(sm).(map[string]any)
	if out == nil {
		out = map[string]any{}
	}
	changed := !runtimeIsObject
	for k, v := range cm {
		rv, has := rm[k]
		p, ch := projectAt(sm[k], rv, v, has)
		if ch {
			out[k] = p
			changed = true
		}
	}
	for k := range rm {
		if _, kept := cm[k]; !kept {
			delete(out, k)
			changed = true
		}
	}
	return out, changed
}
