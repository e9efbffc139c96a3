package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// Options say what to load.
type Options struct {
	// Schema is what may be configured. Required.
	Schema *Schema
	// Path is the config file; it need not exist. Required. ".toml" is TOML, everything
	// else JSON5.
	Path string
	// MustExist makes a missing file an error: for a path that the user named.
	MustExist bool
	// Environ is os.Environ(), or nil for none.
	Environ []string
	// ReservedEnv are SLUICE_ variables that cmd reads itself, such as SLUICE_CONFIG.
	ReservedEnv []string
	// Flags are dotted keys with their text from the command line.
	Flags map[string]string
	// Check looks at a decoded snapshot as a whole, for rules between sections. nil is
	// no such rule.
	Check func(*Snapshot) error
	// HashKey makes Hash an HMAC (see hashRaw); nil is the plain sha256.
	HashKey []byte
	// OnRevision is called with the file's previous content before it is replaced by
	// Set, Patch or Apply (an error refuses the write) and after it was found changed on
	// disk (an error is logged). nil keeps none.
	OnRevision func(Revision) error
	// Log gets reloads and their failures; nil discards.
	Log *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Revision is a content that was replaced.
type Revision struct {
	Path   string `json:"path"`
	Raw    []byte `json:"raw"` // the file's bytes, secrets included: store it owner-only
	Hash   string `json:"hash"`
	AtMs   int64  `json:"atMs"`   // when it was replaced, Unix ms
	Reason string `json:"reason"` // config.set, config.patch, config.apply or file
}

func (o *Options) fill() error {
	if o.Schema == nil || o.Path == "" {
		return errors.New("config: Options need a Schema and a Path")
	}
	abs, err := filepath.Abs(o.Path)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	o.Path = abs
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// Load reads and validates once: what `sluice config check` and `explain` need. Problems
// of the content come as *InvalidError.
func Load(o Options) (*Snapshot, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	raw, exists, err := readFile(o.Path, o.limits(nil).MaxFileBytes)
	if err != nil {
		return nil, err
	}
	if !exists && o.MustExist {
		return nil, fmt.Errorf("config: %s does not exist; create it or leave the option out", o.Path)
	}
	return o.build(raw, exists)
}

// limits returns this package's own Config: the one in the snapshot if it is registered.
func (o *Options) limits(s *Snapshot) Config {
	if s != nil {
		for _, v := range s.values {
			if c, ok := v.Interface().(Config); ok {
				return c
			}
		}
	}
	return Default()
}

// build turns the file's bytes and the other sources into a snapshot. Environment and
// flags do not count for the keys in bare.
func (o *Options) build(raw []byte, exists bool, bare ...[]string) (*Snapshot, error) {
	doc := missingDocument(o.Path)
	if exists {
		var err error
		if doc, err = parseDocument(o.Path, raw); err != nil {
			return nil, &InvalidError{Issues: []Issue{syntaxIssue(o.Path, err)}}
		}
	}
	l := &layers{doc: doc, defaults: o.Schema.defaults()}
	var issues, more []Issue
	l.env, l.envFrom, issues = o.Schema.readEnv(o.Environ, o.ReservedEnv)
	l.flags, l.flagFrom, more = o.Schema.readFlags(o.Flags)
	issues = append(issues, more...)
	l.forget(bare)
	s := &Snapshot{Path: o.Path, Exists: exists, Hash: hashRaw(raw, o.HashKey), LoadedAtMs: o.Now().UnixMilli(), schema: o.Schema, layers: l, effective: l.merged()}
	s.values, more = o.Schema.decode(s.effective, l)
	if issues = append(issues, more...); len(issues) > 0 {
		return nil, &InvalidError{Issues: issues[:min(len(issues), maxIssues)]}
	}
	if o.Check != nil {
		if err := o.Check(s); err != nil {
			var inv *InvalidError
			if errors.As(err, &inv) {
				return nil, err
			}
			return nil, &InvalidError{Issues: []Issue{{Message: err.Error()}}}
		}
	}
	return s, nil
}

func syntaxIssue(path string, err error) Issue {
	i := Issue{Message: clip(err.Error()), Source: filepath.Base(path)}
	var at *SyntaxError
	if errors.As(err, &at) {
		i.Source = fmt.Sprintf("%s:%d", filepath.Base(path), at.Line)
	}
	return i
}

// readFile reads a bounded regular file.
func readFile(path string, maxBytes int) (raw []byte, exists bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("config: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, false, fmt.Errorf("config: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, false, fmt.Errorf("config: %s is not a regular file", path)
	}
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(f, int64(maxBytes)+1))
	if err != nil {
		return nil, false, fmt.Errorf("config: reading %s: %w", path, err)
	}
	if n > int64(maxBytes) {
		return nil, false, fmt.Errorf("config: %s is larger than %d bytes (maxFileBytes)", path, maxBytes)
	}
	return b.Bytes(), true, nil
}

// permissionWarning tells when others can read a file that holds secrets.
func (s *Snapshot) permissionWarning() string {
	if !s.Exists {
		return ""
	}
	info, err := os.Stat(s.Path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return ""
	}
	var secrets []string
	s.schema.redactTree(s.layers.doc.tree, &secrets)
	if len(secrets) == 0 {
		return ""
	}
	return fmt.Sprintf("%s holds secrets and others can read it (mode %04o): chmod 600 it", s.Path, info.Mode().Perm())
}
