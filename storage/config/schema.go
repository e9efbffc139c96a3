package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
)

// Kind is the JSON type of a key.
type Kind string

// The kinds. A map is an object whose keys the user chooses.
const (
	KindObject  Kind = "object"
	KindMap     Kind = "map"
	KindList    Kind = "list"
	KindString  Kind = "string"
	KindInteger Kind = "integer"
	KindNumber  Kind = "number"
	KindBoolean Kind = "boolean"
)

// Reload says whether a running gateway obeys a changed key.
const (
	ReloadHot     = "hot"
	ReloadRestart = "restart"
)

// Section is one package's Config under one key.
type Section struct {
	// Key is where it stands in the document, for example "gateway.ws". Sections may
	// nest: "gateway" and "gateway.ws" can both be registered.
	Key string
	// Doc is one sentence about the section.
	Doc string
	// Default is the Config value (a struct, or a map, list or scalar) that holds when
	// nothing is configured. Its type decides the keys. A Validate() error method on it
	// is called after each decode, once with the defaults.
	Default any
	// Reload is ReloadHot or ReloadRestart for fields without a reload tag; empty is
	// restart, because a promise to obey at once must be made explicitly.
	Reload string
	// Docs gives texts for fields without a doc tag, by key relative to the section
	// ("maxPayloadBytes", "retry.minMs").
	Docs map[string]string
}

// Field describes one key of the schema. Map values have the key "….*", list items
// "…[]".
type Field struct {
	Key     string
	Kind    Kind
	Doc     string
	Unit    string   // ms, bytes, …; empty when there is none
	Min     *float64 // inclusive: of a number, or of a length
	Max     *float64
	Enum    []string
	Secret  bool
	Reload  string // hot or restart
	Default any    // plain value: map[string]any, []any, string, bool, int64, float64, nil
	Env     string // the environment variable; empty for items of maps and lists

	name     string
	typ      reflect.Type // nil for an object that only holds sections
	index    int          // field index in the parent struct, or -1
	nullable bool         // a pointer: absent is a value of its own
	text     bool         // an encoding.TextUnmarshaler
	public   bool         // secret:"false": the name's look does not count
	section  *Section
	fields   []*Field
	elem     *Field
}

// Defaulter may be implemented by the element type of a map or list: decoding an element
// starts from what ConfigDefault returns (the same type) instead of its zero value.
type Defaulter interface{ ConfigDefault() any }

// Schema is what may stand in a document. It is immutable.
type Schema struct {
	root     *Field
	sections []*Section
	byEnv    map[string]*Field
}

// NewSchema reads the sections' types. It fails on what would surprise a user later: a
// field without a json tag, an unsupported type, two keys with one variable, a default
// that is out of its own bounds.
func NewSchema(sections ...Section) (*Schema, error) {
	s := &Schema{root: &Field{Kind: KindObject, index: -1, Reload: ReloadRestart}, byEnv: map[string]*Field{}}
	for i := range sections {
		sec := sections[i]
		s.sections = append(s.sections, &sec)
		if err := s.addSection(&sec); err != nil {
			return nil, fmt.Errorf("config: section %q: %w", sec.Key, err)
		}
	}
	if err := s.index(s.root); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if _, issues := s.decode(s.defaults(), nil); len(issues) > 0 {
		return nil, fmt.Errorf("config: the defaults are not valid: %w", &InvalidError{Issues: issues})
	}
	return s, nil
}

func (s *Schema) addSection(sec *Section) error {
	if sec.Default == nil {
		return fmt.Errorf("has no Default")
	}
	keys, err := splitPath(sec.Key)
	if err != nil {
		return err
	}
	parent := s.root
	for _, k := range keys[:len(keys)-1] {
		next := parent.child(k)
		if next == nil {
			next = &Field{Key: joinPath(parent.Key, k), name: k, Kind: KindObject, index: -1, Reload: ReloadRestart}
			parent.fields = append(parent.fields, next)
		}
		if next.Kind != KindObject || next.typ != nil && next.section == nil {
			return fmt.Errorf("%q is a field of another section and cannot hold one", next.Key)
		}
		parent = next
	}
	name := keys[len(keys)-1]
	f := &Field{Key: sec.Key, name: name, index: -1, Reload: sec.Reload, Doc: sec.Doc, section: sec}
	if f.Reload == "" {
		f.Reload = ReloadRestart
	}
	v := reflect.ValueOf(sec.Default)
	if err := s.describe(f, v.Type(), sec, ""); err != nil {
		return err
	}
	if f.Default, err = encode(f, v); err != nil {
		return err
	}
	if have := parent.child(name); have != nil {
		if have.typ != nil || f.Kind != KindObject {
			return fmt.Errorf("the key is already taken")
		}
		// The object was made for a deeper section that was registered first.
		for _, c := range have.fields {
			if f.child(c.name) != nil {
				return fmt.Errorf("field %q is also a section", c.name)
			}
		}
		f.fields = append(f.fields, have.fields...)
		*have = *f
		return nil
	}
	parent.fields = append(parent.fields, f)
	return nil
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// describe fills kind, element and fields from a Go type.
func (s *Schema) describe(f *Field, t reflect.Type, sec *Section, rel string) error {
	f.typ = t
	if t.Kind() == reflect.Pointer {
		f.nullable = true
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(textUnmarshaler) {
		f.Kind, f.text = KindString, true
		return nil
	}
	switch t.Kind() {
	case reflect.Bool:
		f.Kind = KindBoolean
	case reflect.String:
		f.Kind = KindString
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if t.PkgPath() == "time" {
			return fmt.Errorf("%q is a time.Duration: use an int in ms, named …Ms", f.Key)
		}
		f.Kind = KindInteger
	case reflect.Float32, reflect.Float64:
		f.Kind = KindNumber
	case reflect.Struct:
		f.Kind = KindObject
		return s.describeStruct(f, t, sec, rel)
	case reflect.Slice, reflect.Map:
		f.Kind = KindList
		f.elem = &Field{Key: f.Key + "[]", index: -1, Reload: f.Reload, Secret: f.Secret}
		if t.Kind() == reflect.Map {
			if t.Key().Kind() != reflect.String {
				return fmt.Errorf("%q: map keys must be strings", f.Key)
			}
			f.Kind, f.elem.Key = KindMap, f.Key+".*"
		}
		if err := s.describe(f.elem, t.Elem(), sec, strings.TrimPrefix(f.elem.Key, sec.Key+".")); err != nil {
			return err
		}
		return f.elem.elementDefault()
	default:
		return fmt.Errorf("%q has the unsupported type %s", f.Key, f.typ)
	}
	return nil
}

// elementDefault takes the default of a map's or list's entries from their Defaulter.
func (f *Field) elementDefault() error {
	d, ok := reflect.Zero(f.typ).Interface().(Defaulter)
	if !ok || f.typ.Kind() != reflect.Struct {
		return nil
	}
	v := reflect.ValueOf(d.ConfigDefault())
	if v.Type() != f.typ {
		return fmt.Errorf("%q: ConfigDefault returns a %s, not a %s", f.Key, v.Type(), f.typ)
	}
	var err error
	f.Default, err = encode(f, v)
	return err
}

func (s *Schema) describeStruct(f *Field, t reflect.Type, sec *Section, rel string) error {
	for i := range t.NumField() {
		sf := t.Field(i)
		tag := sf.Tag.Get("json")
		name, _, _ := strings.Cut(tag, ",")
		if !sf.IsExported() || name == "-" {
			continue
		}
		if sf.Anonymous || name == "" {
			return fmt.Errorf("field %s.%s needs a json tag and no embedding", t, sf.Name)
		}
		c := &Field{Key: joinPath(f.Key, name), name: name, index: i, Reload: f.Reload, Doc: sf.Tag.Get("doc")}
		crel := name
		if rel != "" {
			crel = rel + "." + name
		}
		if c.Doc == "" {
			c.Doc = sec.Docs[crel]
		}
		if err := c.tags(sf.Tag); err != nil {
			return err
		}
		if err := s.describe(c, sf.Type, sec, crel); err != nil {
			return err
		}
		c.guessSecret(sf.Tag.Get("secret"))
		if f.child(name) != nil {
			return fmt.Errorf("%q is declared twice", c.Key)
		}
		f.fields = append(f.fields, c)
	}
	return nil
}

// index gives leaves their variables and defaults.
func (s *Schema) index(f *Field) error {
	for _, c := range f.fields {
		if m, ok := f.Default.(map[string]any); ok && c.Default == nil {
			c.Default = m[c.name]
		}
		if c.Kind != KindObject {
			c.Env = envName(c.Key)
			if other := s.byEnv[c.Env]; other != nil {
				return fmt.Errorf("%q and %q are both set by %s: rename one", other.Key, c.Key, c.Env)
			}
			s.byEnv[c.Env] = c
		}
		if err := s.index(c); err != nil {
			return err
		}
	}
	for e := f.elem; e != nil; e = e.elem {
		e.elementFields()
	}
	return nil
}

// elementFields hands an entry's default down to its fields, which have no variables.
func (f *Field) elementFields() {
	for _, c := range f.fields {
		if m, ok := f.Default.(map[string]any); ok && c.Default == nil {
			c.Default = m[c.name]
		}
		c.elementFields()
		for e := c.elem; e != nil; e = e.elem {
			e.elementFields()
		}
	}
}

func (f *Field) child(name string) *Field {
	for _, c := range f.fields {
		if c.name == name {
			return c
		}
	}
	return nil
}

// descend returns the field below f for one key of a document.
func (f *Field) descend(key string) *Field {
	if f.Kind == KindMap {
		return f.elem
	}
	return f.child(key)
}

// Fields lists every leaf and every map and list in registration order; elements of maps
// and lists that are objects are listed after their parent.
func (s *Schema) Fields() []*Field {
	var out []*Field
	var walk func(f *Field)
	walk = func(f *Field) {
		if f.Kind != KindObject {
			out = append(out, f)
		}
		for _, c := range f.fields {
			walk(c)
		}
		for e := f.elem; e != nil; e = e.elem {
			if e.Kind == KindObject {
				walk(e)
			}
		}
	}
	walk(s.root)
	return out
}

// at returns the field of a document path, or nil.
func (s *Schema) at(path []string) *Field {
	f := s.root
	for _, k := range path {
		if _, isItem := itemIndex(k); isItem && f.Kind == KindList {
			f = f.elem
		} else {
			f = f.descend(k)
		}
		if f == nil {
			return nil
		}
	}
	return f
}

// Sections lists the registered sections in order.
func (s *Schema) Sections() []Section {
	out := make([]Section, len(s.sections))
	for i, sec := range s.sections {
		out[i] = *sec
	}
	return out
}
