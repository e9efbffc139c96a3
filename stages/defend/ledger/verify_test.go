package ledger

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// threeFiles makes a journal of three files with a few entries each.
func threeFiles(t *testing.T) string {
	dir := t.TempDir()
	l := MustOpenIdle(t, dir, smallConfig(), Deps{})
	for i := range 3 {
		if i > 0 {
			if err := l.rotate(""); err != nil {
				t.Fatal(err)
			}
		}
		mustCommit(t, l, 3)
	}
	if n := len(journalFiles(t, dir)); n < 3 {
		t.Fatalf("%d files", n)
	}
	if rep := mustVerify(t, dir); !rep.OK() {
		t.Fatal(problems(rep))
	}
	return dir
}

// TestEveryByte changes each byte of the journal and the head in turn.
func TestEveryByte(t *testing.T) {
	dir := threeFiles(t)
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, path := range append(journalFiles(t, dir), filepath.Join(dir, headName)) {
		whole := mustRead(t, path)
		for i := range whole {
			if whole[i] == ' ' && i%61 != 0 { // the head is filled with blanks
				continue
			}
			changes := []byte{1}
			if whole[i] >= 'a' && whole[i] <= 'f' {
				changes = append(changes, 0x20) // the other letter case
			}
			for _, change := range changes {
				b := bytes.Clone(whole)
				b[i] ^= change
				mustWrite(t, path, b)
				rep, err := r.Verify(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				if rep.OK() {
					t.Fatalf("%s: byte %d changed by %d: not found", filepath.Base(path), i, change)
				}
				if p := rep.Problems[0]; p.File != filepath.Base(path) || p.File != headName && p.Line != 1+bytes.Count(whole[:i], []byte("\n")) {
					t.Fatalf("%s: byte %d changed by %d: %v", filepath.Base(path), i, change, p)
				}
			}
		}
		mustWrite(t, path, whole)
	}
}

// TestEveryLine drops, doubles, swaps and cuts each line in turn.
func TestEveryLine(t *testing.T) {
	dir := threeFiles(t)
	for _, path := range journalFiles(t, dir) {
		whole := mustRead(t, path)
		all := bytes.SplitAfter(whole, []byte("\n"))
		all = all[:len(all)-1]
		try := func(what string, lines ...[]byte) {
			t.Helper()
			mustWrite(t, path, bytes.Join(lines, nil))
			if rep := mustVerify(t, dir); rep.OK() {
				t.Errorf("%s: %s: not found", filepath.Base(path), what)
			} else if !strings.Contains(problems(rep), "journal-") {
				t.Errorf("%s: %s: %s", filepath.Base(path), what, problems(rep))
			}
		}
		for i := range all {
			before, after := all[:i:i], all[i+1:]
			try(fmt.Sprintf("line %d dropped", i+1), append(before, after...)...)
			try(fmt.Sprintf("line %d doubled", i+1), append(append(before, all[i], all[i]), after...)...)
			try(fmt.Sprintf("cut before line %d", i+1), before...)
			try(fmt.Sprintf("cut inside line %d", i+1), append(before, all[i][:len(all[i])/2])...)
			if i > 0 {
				try(fmt.Sprintf("lines %d and %d swapped", i, i+1), append(append(all[:i-1:i-1], all[i], all[i-1]), after...)...)
			}
		}
		mustWrite(t, path, whole)
		os.Rename(path, path+".gone")
		if rep := mustVerify(t, dir); rep.OK() {
			t.Errorf("%s gone: not found", path)
		}
		os.Rename(path+".gone", path)
	}
	if rep := mustVerify(t, dir); !rep.OK() {
		t.Error(problems(rep))
	}
}

// TestRewritten: a journal that was written anew, with fitting hashes and head, is found
// by an anchor alone.
func TestRewritten(t *testing.T) {
	dir := t.TempDir()
	l := MustOpen(t, dir, Default(), Deps{})
	mustAppend(t, l, 5)
	kept := l.Head()
	l.Close()
	forged := t.TempDir()
	l = MustOpen(t, forged, Default(), Deps{})
	mustAppend(t, l, 7)
	if rep, err := l.Verify(t.Context(), nil); err != nil || !rep.OK() {
		t.Fatal(err, rep)
	}
	rep, err := l.VerifyAgainst(t.Context(), []Anchor{kept, {Seq: 99, Hash: kept.Hash}}, nil)
	if err != nil || len(rep.Problems) != 2 {
		t.Error(err, problems(rep))
	}
}

func TestOpenAfterDamage(t *testing.T) {
	clean := t.TempDir()
	l := MustOpen(t, clean, Default(), Deps{})
	mustAppend(t, l, 6)
	l.Close()
	name := filepath.Base(journalFiles(t, clean)[0])
	for what, harm := range map[string]func(dir string, whole []byte){
		"tail cut": func(dir string, b []byte) {
			mustWrite(t, filepath.Join(dir, name), b[:bytes.LastIndex(b[:len(b)-1], []byte("\n"))+1])
		},
		"changed": func(dir string, b []byte) {
			mustWrite(t, filepath.Join(dir, name), bytes.Replace(b, []byte(`"risk":80`), []byte(`"risk":10`), 1))
		},
		"file gone": func(dir string, _ []byte) { os.Remove(filepath.Join(dir, name)) },
		"head gone": func(dir string, _ []byte) { os.Remove(filepath.Join(dir, headName)) },
		"head junk": func(dir string, _ []byte) { mustWrite(t, filepath.Join(dir, headName), []byte("junk")) },
		"head and tail": func(dir string, b []byte) {
			os.Remove(filepath.Join(dir, headName))
			mustWrite(t, filepath.Join(dir, name), b[:len(b)/2])
		},
	} {
		dir := copyDir(t, clean)
		harm(dir, mustRead(t, filepath.Join(dir, name)))
		l := MustOpen(t, dir, Default(), Deps{})
		if l.Health() == "" {
			t.Errorf("%s: healthy", what)
		}
		mustAppend(t, l, 2)
		if list, err := l.List(t.Context(), Filter{Kind: KindIntegrity}); len(list) != 1 || list[0].Action != "damaged" {
			t.Errorf("%s: %v %v", what, list, err)
		}
		l.Close()
		first := problems(mustVerify(t, dir))
		if first == "" {
			t.Errorf("%s: forgotten after a restart", what)
		}
		l = MustOpen(t, dir, Default(), Deps{})
		mustAppend(t, l, 1)
		l.Close()
		if again := problems(mustVerify(t, dir)); again != first {
			t.Errorf("%s: was\n%s, is\n%s", what, first, again)
		}
	}
}

func TestTornWrite(t *testing.T) {
	clean := t.TempDir()
	l := MustOpen(t, clean, Default(), Deps{})
	mustAppend(t, l, 4)
	head := mustRead(t, filepath.Join(clean, headName))
	mustAppend(t, l, 1)
	l.Close()
	path := journalFiles(t, clean)[0]
	whole := mustRead(t, path)
	// The head of before: the last entry reached the disk and was never acknowledged.
	mustWrite(t, filepath.Join(clean, headName), head)
	wantBeyond := func(dir string, n uint64) {
		t.Helper()
		if rep := mustVerify(t, dir); !rep.OK() || rep.Beyond != n {
			t.Errorf("%d beyond the head, want %d: %s", rep.Beyond, n, problems(rep))
		}
	}
	wantBeyond(clean, 1)
	torn := copyDir(t, clean)
	mustWrite(t, filepath.Join(torn, filepath.Base(path)), whole[:len(whole)-40])
	wantBeyond(torn, 0)
	for dir, want := range map[string]uint64{clean: 6, torn: 5} { // with the entry about it
		l := MustOpen(t, dir, Default(), Deps{})
		if l.Health() != "" {
			t.Error(l.Health())
		}
		l.Close()
		wantOK(t, dir, want)
	}
	if aside, _ := filepath.Glob(filepath.Join(torn, "*.torn-*")); len(aside) != 1 {
		t.Error("the torn bytes are not kept")
	}
}

func FuzzVerify(f *testing.F) {
	dir := f.TempDir()
	// A clock that stands still: each fuzzing process makes the same bytes.
	l, err := Open(dir, Default(), Deps{Now: func() time.Time { return time.UnixMilli(1e12) }})
	if err != nil {
		f.Fatal(err)
	}
	mustAppend(f, l, 2)
	l.Close()
	path := journalFiles(f, dir)[0]
	whole, head := mustRead(f, path), mustRead(f, filepath.Join(dir, headName))
	f.Add(whole, head)
	f.Add([]byte("{}\n\n"), []byte("{}"))
	f.Fuzz(func(t *testing.T, journal, h []byte) {
		mustWrite(t, path, journal)
		mustWrite(t, filepath.Join(dir, headName), h)
		rep := mustVerify(t, dir)
		if rep.OK() && (!bytes.Equal(journal, whole) || !bytes.Equal(h, head)) && !bytes.HasPrefix(journal, whole) {
			t.Errorf("a changed journal passes")
		}
		copied := copyDir(t, dir)
		l, err := Open(copied, Default(), Deps{})
		if err != nil {
			return
		}
		defer l.Close()
		if _, err := l.Append(t.Context(), sample(1)); err != nil {
			t.Error(err)
		}
	})
}
