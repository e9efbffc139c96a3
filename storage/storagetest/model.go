package storagetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sluice/storage"
)

var errUndo = errors.New("undo")

// model is what a Store should hold: two collections as maps.
type model map[storage.Collection]map[string]string

func (m model) clone() model {
	out := model{}
	for c, kv := range m {
		out[c] = map[string]string{}
		for k, v := range kv {
			out[c][k] = v
		}
	}
	return out
}

func (m model) scan(c storage.Collection, r storage.Range) []string {
	keys := []string{}
	for k := range m[c] {
		if strings.HasPrefix(k, r.Prefix) && (r.From == "" || !r.Reverse && k >= r.From || r.Reverse && k <= r.From) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	if r.Reverse {
		slices.Reverse(keys)
	}
	if r.Limit > 0 && len(keys) > r.Limit {
		keys = keys[:r.Limit]
	}
	for i, k := range keys {
		keys[i] = k + "=" + m[c][k]
	}
	return keys
}

var (
	genCollection = rapid.SampledFrom([]storage.Collection{storage.Sessions, storage.Transcripts})
	genKey        = rapid.OneOf(
		rapid.StringOfN(rapid.SampledFrom([]rune("aAb/:.%^é\x00")), 1, 4, -1),
		rapid.SampledFrom(strangeKeys))
	genValue = rapid.OneOf(
		rapid.SampledFrom([]string{"", "{}", `{"n":1}`, "[]\n", "\x00\xff", "plain"}),
		rapid.Map(rapid.IntRange(0, 6000), func(n int) string { return strings.Repeat("v", n) }))
	genRange = rapid.Custom(func(t *rapid.T) storage.Range {
		return storage.Range{
			Prefix:  rapid.StringOfN(rapid.SampledFrom([]rune("aAb/:")), 0, 2, -1).Draw(t, "prefix"),
			From:    rapid.OneOf(rapid.Just(""), genKey).Draw(t, "from"),
			Limit:   rapid.IntRange(0, 5).Draw(t, "limit"),
			Reverse: rapid.Bool().Draw(t, "reverse"),
		}
	})
)

// testModel runs random transactions, rollbacks and reopenings against a map.
func testModel(t *testing.T, open Opener) {
	base := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(base, "")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		m := machine{open: open, path: filepath.Join(dir, "store.db"), want: model{storage.Sessions: {}, storage.Transcripts: {}}}
		m.reopen(rt)
		defer func() { m.s.Close() }()
		rt.Repeat(map[string]func(*rapid.T){
			"update": m.update,
			"view":   m.view,
			"reopen": m.reopen,
			"":       func(*rapid.T) {},
		})
		m.view(rt)
	})
}

type machine struct {
	open Opener
	path string
	s    storage.Store
	want model
}

func (m *machine) reopen(rt *rapid.T) {
	if m.s != nil {
		if err := m.s.Close(); err != nil {
			rt.Fatalf("close: %v", err)
		}
	}
	s, err := m.open(m.path)
	if err != nil {
		rt.Fatalf("open: %v", err)
	}
	m.s = s
	if aside := s.Health().SetAside; len(aside) > 0 {
		rt.Fatalf("damage in a sound store: %q", aside)
	}
}

func (m *machine) update(rt *rapid.T) {
	next := m.want.clone()
	undo := rapid.IntRange(0, 4).Draw(rt, "undo") == 0
	err := m.s.Update(context.Background(), func(tx storage.Tx) error {
		for range rapid.IntRange(0, 6).Draw(rt, "ops") {
			c, key := genCollection.Draw(rt, "collection"), genKey.Draw(rt, "key")
			if rapid.IntRange(0, 2).Draw(rt, "delete") == 0 {
				delete(next[c], key)
				if err := tx.Delete(c, key); err != nil {
					return err
				}
			} else {
				value := genValue.Draw(rt, "value")
				next[c][key] = value
				if err := tx.Put(c, key, []byte(value)); err != nil {
					return err
				}
			}
			m.compare(rt, tx, next)
		}
		if undo {
			return errUndo
		}
		return nil
	})
	switch {
	case undo && errors.Is(err, errUndo):
	case !undo && err == nil:
		m.want = next
	default:
		rt.Fatalf("update: %v", err)
	}
}

func (m *machine) view(rt *rapid.T) {
	if err := m.s.View(context.Background(), func(r storage.Reader) error {
		m.compare(rt, r, m.want)
		for c := range m.want {
			equal(rt, string(c), scan(rt, r, c, storage.Range{}), m.want.scan(c, storage.Range{}))
		}
		return nil
	}); err != nil {
		rt.Fatalf("view: %v", err)
	}
}

func (m *machine) compare(rt *rapid.T, r storage.Reader, want model) {
	c, key, rng := genCollection.Draw(rt, "collection"), genKey.Draw(rt, "key"), genRange.Draw(rt, "range")
	value, ok := want[c][key]
	if !ok {
		value = "<none>"
	}
	if got := read(rt, r, c, key); got != value {
		rt.Fatalf("get %s/%q: %.40q, want %.40q", c, key, got, value)
	}
	got, exp := scan(rt, r, c, rng), want.scan(c, rng)
	if !slices.Equal(got, exp) {
		rt.Fatalf("scan %s %+v:\n got %.200q\nwant %.200q", c, rng, got, exp)
	}
}
