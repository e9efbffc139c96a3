package config

import "reflect"

// clonePlain copies a plain tree.
func clonePlain(v any) any {
	switch x := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(x))
		for k, e := range x {
			m[k] = clonePlain(e)
		}
		return m
	case []any:
		l := make([]any, len(x))
		for i, e := range x {
			l[i] = clonePlain(e)
		}
		return l
	}
	return v
}

// overlay merges upper over lower and returns the result; neither is changed. Objects
// merge by key, everything else is replaced.
func overlay(lower, upper any) any {
	lm, ok1 := lower.(map[string]any)
	um, ok2 := upper.(map[string]any)
	if !ok1 || !ok2 {
		return clonePlain(upper)
	}
	out := make(map[string]any, len(lm)+len(um))
	for k, v := range lm {
		out[k] = v
	}
	for k, v := range um {
		if have, ok := out[k]; ok {
			out[k] = overlay(have, v)
			continue
		}
		out[k] = clonePlain(v)
	}
	return out
}

// equal compares plain trees. Whole numbers are int64 in every layer, so it is exact.
func equal(a, b any) bool { return reflect.DeepEqual(a, b) }

// lookup follows a path in a plain tree.
func lookup(tree any, path []string) (any, bool) {
	for _, k := range path {
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

// put sets a path in a plain tree and makes the objects on the way.
func put(tree map[string]any, path []string, v any) {
	for _, k := range path[:len(path)-1] {
		next, ok := tree[k].(map[string]any)
		if !ok {
			next = map[string]any{}
			tree[k] = next
		}
		tree = next
	}
	last := path[len(path)-1]
	tree[last] = overlay(tree[last], v)
}

// diffPaths lists the leaf keys whose values differ, in order; lists are leaves.
func diffPaths(a, b any, path []string) []string {
	am, ok1 := a.(map[string]any)
	bm, ok2 := b.(map[string]any)
	if !ok1 && !ok2 || len(am)+len(bm) == 0 {
		if equal(a, b) {
			return nil
		}
		if len(path) == 0 {
			return []string{"<root>"}
		}
		return []string{pathString(path)}
	}
	union := make(map[string]any, len(am)+len(bm))
	for k := range am {
		union[k] = nil
	}
	for k := range bm {
		union[k] = nil
	}
	var out []string
	for _, k := range sortedKeys(union) {
		av, inA := am[k]
		bv, inB := bm[k]
		p := append(path[:len(path):len(path)], k)
		if inA != inB && !isObject(av) && !isObject(bv) {
			out = append(out, pathString(p))
			continue
		}
		out = append(out, diffPaths(av, bv, p)...)
	}
	return out
}

func isObject(v any) bool { _, ok := v.(map[string]any); return ok }
