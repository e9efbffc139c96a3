package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	at := time.Date(2026, 11, 23, 6, 8, 12, 345e6, time.FixedZone("", 3600))
	var made []string
	for i := range maxListed + 3 {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		name, err := SetAside(path, at.Add(time.Duration(i/2)*time.Minute)) // two at a time
		if err != nil || !IsAside(name) {
			t.Fatal(name, err)
		}
		made = append(made, name)
	}
	if want := path + ".damaged-20261123T050812.345Z"; made[0] != want || made[1] != want+"-2" {
		t.Errorf("%q", made[:2])
	}
	got := ListSetAside(path)
	if len(got) != maxListed || got[0] != made[len(made)-1] {
		t.Errorf("%d listed, the first is %s", len(got), got[0])
	}
	if len(ListSetAside(filepath.Join(t.TempDir(), "none"))) != 0 {
		t.Error("listed something where nothing is")
	}
}

func TestIsFull(t *testing.T) {
	for err, want := range map[error]bool{
		nil: false, errors.New("other"): false, context.Canceled: false, syscall.EIO: false,
		syscall.ENOSPC: true, syscall.EDQUOT: true,
		&os.PathError{Op: "write", Path: "p", Err: syscall.EFBIG}: true,
		fmt.Errorf("file resize error: %s", syscall.ENOSPC):       true,
	} {
		if got := IsFull(err); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}

func TestDegraded(t *testing.T) {
	var d Degraded
	if err := d.Note("p", syscall.ENOSPC); !errors.Is(err, storage.ErrFull) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(d.Why(), "p") {
		t.Errorf("%v, %q", err, d.Why())
	}
	if d.Note("p", context.Canceled); d.Why() == "" {
		t.Error("a caller that went away cleared it")
	}
	if err := d.Note("p", nil); err != nil || d.Why() != "" {
		t.Errorf("%v, %q", err, d.Why())
	}
}

func TestLockAndSameFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, FileMode)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	first, second := open(), open()
	if err := Lock(first, 0); err != nil {
		t.Fatal(err)
	}
	if err := Lock(second, 15*time.Millisecond); !errors.Is(err, storage.ErrLocked) {
		t.Errorf("%v", err)
	}
	first.Close()
	if err := Lock(second, time.Second); err != nil {
		t.Errorf("when it is free: %v", err)
	}
	if same, err := SameFile(second, path); err != nil || !same {
		t.Errorf("%v, %v", same, err)
	}
	if _, err := SetAside(path, time.Now()); err != nil {
		t.Fatal(err)
	}
	if same, err := SameFile(second, path); err != nil || same {
		t.Errorf("renamed: %v, %v", same, err)
	}
	open()
	if same, err := SameFile(second, path); err != nil || same {
		t.Errorf("replaced: %v, %v", same, err)
	}
}
