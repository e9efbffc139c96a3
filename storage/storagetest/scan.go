package storagetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"sluice/storage"
)

// ranges are the cases of storage.Range over the keys a, ab, abc, b, ba, c, é.
var ranges = []struct {
	r    storage.Range
	want string
}{
	{storage.Range{}, "a ab abc b ba c é"},
	{storage.Range{Reverse: true}, "é c ba b abc ab a"},
	{storage.Range{Limit: 2}, "a ab"},
	{storage.Range{Limit: 2, Reverse: true}, "é c"},
	{storage.Range{Limit: 99}, "a ab abc b ba c é"},
	{storage.Range{Prefix: "a"}, "a ab abc"},
	{storage.Range{Prefix: "ab"}, "ab abc"},
	{storage.Range{Prefix: "a", Reverse: true}, "abc ab a"},
	{storage.Range{Prefix: "é"}, "é"},
	{storage.Range{Prefix: "é", Reverse: true}, "é"},
	{storage.Range{Prefix: "é"[:1], Reverse: true}, "é"},
	{storage.Range{Prefix: "zz"}, ""},
	{storage.Range{Prefix: "zz", Reverse: true}, ""},
	{storage.Range{From: "ab"}, "ab abc b ba c é"},
	{storage.Range{From: "aa"}, "ab abc b ba c é"},
	{storage.Range{From: "ab", Reverse: true}, "ab a"},
	{storage.Range{From: "aa", Reverse: true}, "a"},
	{storage.Range{From: "0", Reverse: true}, ""},
	{storage.Range{From: "0"}, "a ab abc b ba c é"},
	{storage.Range{From: "\U0010ffff"}, ""},
	{storage.Range{From: "\U0010ffff", Reverse: true}, "é c ba b abc ab a"},
	{storage.Range{Prefix: "b", From: "a"}, "b ba"},
	{storage.Range{Prefix: "b", From: "ba"}, "ba"},
	{storage.Range{Prefix: "b", From: "c"}, ""},
	{storage.Range{Prefix: "b", From: "c", Reverse: true}, "ba b"},
	{storage.Range{Prefix: "b", From: "b", Reverse: true}, "b"},
	{storage.Range{Prefix: "b", From: "a", Reverse: true}, ""},
	{storage.Range{Prefix: "a", From: "ab", Limit: 1}, "ab"},
	{storage.Range{Prefix: "a", From: "ab", Limit: 1, Reverse: true}, "ab"},
	{storage.Range{Prefix: "\xff"}, ""},
}

var rangeKeys = []string{"b", "abc", "é", "a", "ba", "c", "ab"}

func checkRanges(t *testing.T, r storage.Reader, c storage.Collection) {
	t.Helper()
	for _, x := range ranges {
		got := ""
		err := r.Scan(c, x.r, func(k string, v []byte) error {
			if string(v) != "v:"+k {
				t.Errorf("%+v: %q has the value %q", x.r, k, v)
			}
			if got != "" {
				got += " "
			}
			got += k
			return nil
		})
		if err != nil || got != x.want {
			t.Errorf("%+v: got %q, %v; want %q", x.r, got, err, x.want)
		}
	}
}

func testScan(t *testing.T, open Opener) {
	path := place(t)
	s := mustOpen(t, open, path)
	view(t, s, func(r storage.Reader) error {
		for _, reverse := range []bool{false, true} {
			equal(t, "an empty collection", scan(t, r, storage.Sessions, storage.Range{Reverse: reverse, Prefix: "x"}), nil)
		}
		return nil
	})
	for _, k := range rangeKeys {
		put(t, s, storage.Sessions, k, "v:"+k)
	}
	put(t, s, storage.Transcripts, "aaa", "another collection")
	view(t, s, func(r storage.Reader) error { checkRanges(t, r, storage.Sessions); return nil })
	mustClose(t, s)
	s = mustOpen(t, open, path)
	view(t, s, func(r storage.Reader) error { checkRanges(t, r, storage.Sessions); return nil })
}

// testScanInUpdate: a third of the keys is committed, a third new in the transaction,
// a third replaced by it; some others are deleted by it.
func testScanInUpdate(t *testing.T, open Opener) {
	s := mustOpen(t, open, place(t))
	update(t, s, func(tx storage.Tx) error {
		var errs []error
		for i, k := range rangeKeys {
			switch i % 3 {
			case 0:
				errs = append(errs, tx.Put(storage.Sessions, k, []byte("v:"+k)))
			case 1:
				errs = append(errs, tx.Put(storage.Sessions, k, []byte("old")))
			}
		}
		for _, k := range []string{"0", "aa", "abd", "bb", "z"} {
			errs = append(errs, tx.Put(storage.Sessions, k, []byte("to be deleted")))
		}
		return errors.Join(errs...)
	})
	update(t, s, func(tx storage.Tx) error {
		var errs []error
		for _, k := range []string{"0", "aa", "abd", "bb", "z"} {
			errs = append(errs, tx.Delete(storage.Sessions, k))
		}
		for i, k := range rangeKeys {
			if i%3 != 0 {
				errs = append(errs, tx.Put(storage.Sessions, k, []byte("v:"+k)))
			}
		}
		checkRanges(t, tx, storage.Sessions)
		return errors.Join(errs...)
	})
}

func testScanErrors(t *testing.T, open Opener) {
	s := mustOpen(t, open, place(t))
	for i := range 10 {
		put(t, s, storage.Meta, fmt.Sprint(i), "v")
	}
	mine := errors.New("mine")
	for _, x := range []struct{ give, want error }{{storage.ErrStop, nil}, {fmt.Errorf("done: %w", storage.ErrStop), nil}, {mine, mine}} {
		n := 0
		err := s.View(context.Background(), func(r storage.Reader) error {
			return r.Scan(storage.Meta, storage.Range{}, func(k string, _ []byte) error {
				// Other reads inside of a scan are fine.
				if got := read(t, r, storage.Meta, k); got != "v" {
					t.Errorf("get inside of a scan: %q", got)
				}
				if len(scan(t, r, storage.Meta, storage.Range{From: k, Limit: 1})) != 1 {
					t.Errorf("scan inside of a scan")
				}
				if n++; n == 3 {
					return x.give
				}
				return nil
			})
		})
		if n != 3 || !errors.Is(err, x.want) || (x.want == nil) != (err == nil) {
			t.Errorf("fn returned %v: %d visits, %v", x.give, n, err)
		}
	}
}
