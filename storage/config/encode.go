package config

import (
	"encoding"
	"fmt"
	"reflect"
)

// encode turns a Go value into a plain tree: the defaults as a layer of the document.
func encode(f *Field, v reflect.Value) (any, error) {
	if f.nullable {
		if v.IsNil() {
			return nil, nil
		}
		v = v.Elem()
	}
	if f.text {
		return encodeText(f, v)
	}
	switch f.Kind {
	case KindBoolean:
		return v.Bool(), nil
	case KindString:
		return v.String(), nil
	case KindNumber:
		return wholeNumber(v.Float()), nil
	case KindInteger:
		if v.CanUint() {
			return int64(v.Uint()), nil
		}
		return v.Int(), nil
	case KindList:
		l := make([]any, v.Len())
		for i := range l {
			var err error
			if l[i], err = encode(f.elem, v.Index(i)); err != nil {
				return nil, err
			}
		}
		return l, nil
	case KindMap:
		m := make(map[string]any, v.Len())
		for it := v.MapRange(); it.Next(); {
			e, err := encode(f.elem, it.Value())
			if err != nil {
				return nil, err
			}
			m[it.Key().String()] = e
		}
		return m, nil
	}
	return encodeStruct(f, v)
}

func encodeStruct(f *Field, v reflect.Value) (any, error) {
	m := make(map[string]any, len(f.fields))
	for _, c := range f.fields {
		if c.index < 0 {
			continue
		}
		e, err := encode(c, v.Field(c.index))
		if err != nil {
			return nil, err
		}
		if e == nil { // a nil pointer: absent
			continue
		}
		m[c.name] = e
	}
	return m, nil
}

func encodeText(f *Field, v reflect.Value) (any, error) {
	m, ok := v.Interface().(encoding.TextMarshaler)
	if !ok && v.CanAddr() {
		m, ok = v.Addr().Interface().(encoding.TextMarshaler)
	}
	if !ok {
		return nil, fmt.Errorf("%q: %s can be read from text but not written", f.Key, v.Type())
	}
	text, err := m.MarshalText()
	if err != nil {
		return nil, fmt.Errorf("%q: %w", f.Key, err)
	}
	return string(text), nil
}

// defaults is the lowest layer: every section's default at its key.
func (s *Schema) defaults() map[string]any {
	var build func(f *Field) any
	build = func(f *Field) any {
		m, ok := f.Default.(map[string]any)
		if f.Kind != KindObject {
			return clonePlain(f.Default)
		}
		out := map[string]any{}
		if ok {
			out, _ = clonePlain(m).(map[string]any)
		}
		for _, c := range f.fields {
			if c.section != nil || c.typ == nil {
				out[c.name] = build(c)
			}
		}
		return out
	}
	tree, _ := build(s.root).(map[string]any)
	return tree
}
