package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"sluice/frames/framestest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestGeneratedFilesAreCurrent: what is committed is what the generator writes.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	dir := t.TempDir()
	if err := run(filepath.Join(framestest.Shared(t), "protocol", "schema96.json"), dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"methods_gen.go", "params_gen.txt"} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("frames/%s is not what the generator writes: run go generate ./frames", name)
		}
	}
}

func TestRunSaysWhatIsMissing(t *testing.T) {
	if err := run(filepath.Join(t.TempDir(), "none.json"), t.TempDir()); err == nil {
		t.Error("a missing description is no error")
	}
}
