package config

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
)

// validator is implemented by the Config structs.
type validator interface{ Validate() error }

// decoder turns a merged tree into Go values and collects what is wrong with it.
type decoder struct {
	schema *Schema
	layers *layers // where values came from; nil for the defaults alone
	issues []Issue
}

// decode fills a fresh Go value for every section. The map's keys are section keys.
func (s *Schema) decode(tree map[string]any, from *layers) (map[string]reflect.Value, []Issue) {
	d := &decoder{schema: s, layers: from}
	out := make(map[string]reflect.Value, len(s.sections))
	d.walkSections(s.root, tree, nil, out)
	return out, d.issues
}

func (d *decoder) walkSections(f *Field, tree any, path []string, out map[string]reflect.Value) {
	if _, ok := tree.(map[string]any); !ok && f.Kind == KindObject {
		d.wrongType(f, tree, path) // once, not for every section below
		return
	}
	if f.section != nil {
		before := len(d.issues)
		v := reflect.New(f.typ).Elem()
		d.value(f, tree, path, v)
		out[f.section.Key] = v
		// Only a section whose fields are well formed can be asked about their sense.
		if len(d.issues) == before {
			d.validate(f, v, path)
		}
	}
	m, _ := tree.(map[string]any)
	for _, c := range f.fields {
		if c.section != nil || c.typ == nil {
			d.walkSections(c, m[c.name], append(path, c.name), out)
		}
	}
	if f.typ == nil {
		d.unknown(f, m, path)
	}
}

// validate calls the Config's own Validate, and that of each entry of a section that is
// a map or a list.
func (d *decoder) validate(f *Field, v reflect.Value, path []string) {
	if val, ok := v.Interface().(validator); ok {
		if err := val.Validate(); err != nil {
			d.add(path, "%s", err)
		}
		return
	}
	switch f.Kind {
	case KindMap:
		for _, k := range v.MapKeys() {
			d.validate(f.elem, v.MapIndex(k), append(slices.Clone(path), k.String()))
		}
	case KindList:
		for i := range v.Len() {
			d.validate(f.elem, v.Index(i), append(slices.Clone(path), fmt.Sprintf("[%d]", i)))
		}
	}
}

func (d *decoder) add(path []string, format string, args ...any) {
	if len(d.issues) < maxIssues {
		d.issues = append(d.issues, newIssue(d.layers, path, fmt.Sprintf(format, args...)))
	}
}

func (d *decoder) unknown(f *Field, m map[string]any, path []string) {
	for _, k := range sortedKeys(m) {
		if f.child(k) != nil {
			continue
		}
		if len(d.issues) >= maxIssues {
			return // the search for a near name is not free
		}
		p := append(slices.Clone(path), k)
		msg := "unknown key"
		if near := d.schema.nearest(f, k); near != "" {
			msg += fmt.Sprintf("; did you mean %q?", near)
		} else {
			msg += "; `sluice config explain` lists the keys"
		}
		d.add(p, "%s", msg)
	}
}

// value decodes one value into out and reports whether it could.
func (d *decoder) value(f *Field, v any, path []string, out reflect.Value) {
	if f.nullable {
		if v == nil {
			return
		}
		p := reflect.New(out.Type().Elem())
		d.concrete(f, v, path, p.Elem())
		out.Set(p)
		return
	}
	d.concrete(f, v, path, out)
}

func (d *decoder) concrete(f *Field, v any, path []string, out reflect.Value) {
	switch f.Kind {
	case KindObject:
		m, ok := v.(map[string]any)
		if !ok {
			d.wrongType(f, v, path)
			return
		}
		d.object(f, m, path, out)
	case KindMap:
		m, ok := v.(map[string]any)
		if !ok {
			d.wrongType(f, v, path)
			return
		}
		d.mapping(f, m, path, out)
	case KindList:
		l, ok := v.([]any)
		if !ok {
			d.wrongType(f, v, path)
			return
		}
		out.Set(reflect.MakeSlice(out.Type(), len(l), len(l)))
		for i, item := range l {
			d.element(f.elem, item, append(path, fmt.Sprintf("[%d]", i)), out.Index(i))
		}
		d.bounds(f, float64(len(l)), v, path)
	default:
		d.scalar(f, v, path, out)
	}
}

func (d *decoder) object(f *Field, m map[string]any, path []string, out reflect.Value) {
	for _, c := range f.fields {
		if c.index < 0 {
			continue // a nested section: it has its own value
		}
		v, present := m[c.name]
		if !present {
			continue
		}
		d.value(c, v, append(path, c.name), out.Field(c.index))
	}
	d.unknown(f, m, path)
}

func (d *decoder) mapping(f *Field, m map[string]any, path []string, out reflect.Value) {
	out.Set(reflect.MakeMapWithSize(out.Type(), len(m)))
	for _, k := range sortedKeys(m) {
		e := reflect.New(out.Type().Elem()).Elem()
		d.element(f.elem, m[k], append(path, k), e)
		out.SetMapIndex(reflect.ValueOf(k).Convert(out.Type().Key()), e)
	}
	d.bounds(f, float64(len(m)), m, path)
}

// element decodes an entry of a map or list on top of the element's own default.
func (d *decoder) element(f *Field, v any, path []string, out reflect.Value) {
	path = slices.Clone(path)
	if def, ok := reflect.Zero(out.Type()).Interface().(Defaulter); ok && out.Kind() == reflect.Struct {
		if start := reflect.ValueOf(def.ConfigDefault()); start.Type() == out.Type() {
			out.Set(start)
		}
	}
	d.value(f, v, path, out)
}

func (d *decoder) scalar(f *Field, v any, path []string, out reflect.Value) {
	ok := true
	switch x := v.(type) {
	case bool:
		if ok = f.Kind == KindBoolean; ok {
			out.SetBool(x)
		}
	case string:
		if ok = f.Kind == KindString; ok {
			d.text(f, x, path, out)
		}
	case int64:
		d.number(f, float64(x), x, v, path, out)
	case float64:
		d.number(f, x, math.MinInt64, v, path, out)
	default:
		ok = false
	}
	if !ok {
		d.wrongType(f, v, path)
	}
}

func (d *decoder) text(f *Field, x string, path []string, out reflect.Value) {
	if f.text {
		if err := out.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(x)); err != nil {
			d.add(path, "value %s is not valid: %v", d.show(f, path, x), err)
		}
		return
	}
	out.SetString(x)
	if len(f.Enum) > 0 && !slices.Contains(f.Enum, x) {
		d.add(path, "value %s is not one of %s%s", d.show(f, path, x), strings.Join(f.Enum, ", "), suggest(x, f.Enum))
	}
	d.bounds(f, float64(len(x)), x, path)
}

func (d *decoder) number(f *Field, x float64, whole int64, v any, path []string, out reflect.Value) {
	switch f.Kind {
	case KindNumber:
		out.SetFloat(x)
	case KindInteger:
		if _, isFloat := v.(float64); isFloat {
			d.add(path, "value %s must be a whole number", d.show(f, path, v))
			return
		}
		if out.CanInt() && out.OverflowInt(whole) || out.CanUint() && (whole < 0 || out.OverflowUint(uint64(whole))) {
			d.add(path, "value %s does not fit; the bound is that of %s", d.show(f, path, v), out.Type())
			return
		}
		if out.CanInt() {
			out.SetInt(whole)
		} else {
			out.SetUint(uint64(whole))
		}
	default:
		d.wrongType(f, v, path)
		return
	}
	d.bounds(f, x, v, path)
}

func (d *decoder) bounds(f *Field, size float64, v any, path []string) {
	if (f.Min == nil || size >= *f.Min) && (f.Max == nil || size <= *f.Max) {
		return
	}
	switch f.Kind {
	case KindString:
		d.add(path, "value %s is %s bytes long; allowed: %s", d.show(f, path, v), formatFloat(size), f.Bound())
	case KindList, KindMap:
		d.add(path, "has %s entries; allowed: %s", formatFloat(size), f.Bound())
	default:
		d.add(path, "value %s is out of bounds; allowed: %s", d.show(f, path, v), f.Bound())
	}
}

func (d *decoder) wrongType(f *Field, v any, path []string) {
	d.add(path, "value %s is %s, must be %s", d.show(f, path, v), typeName(v), kindName(f))
}

// show prints a value for an error message: short, and never a secret.
func (d *decoder) show(f *Field, path []string, v any) string {
	if f.Secret || secretKey(f, path) && f.Kind == KindString {
		return "(secret)"
	}
	text := inline(v)
	if len(text) > 80 {
		text = text[:77] + "…"
	}
	return strings.ToValidUTF8(text, "")
}

func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case int64, float64:
		return "a number"
	case []any:
		return "a list"
	}
	return "an object"
}

func kindName(f *Field) string {
	switch f.Kind {
	case KindBoolean:
		return "a boolean"
	case KindString:
		return "a string"
	case KindInteger:
		return "a whole number"
	case KindNumber:
		return "a number"
	case KindList:
		return "a list"
	}
	return "an object"
}
