//go:build unix

package storagetest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"sluice/storage"
)

// The child is this test binary, told by the environment what to do.
const (
	envRole = "SLUICE_STORAGETEST_ROLE"
	envPath = "SLUICE_STORAGETEST_PATH"

	roleKill = "kill"
	roleFull = "full"
)

// runChild does the child's work and reports whether this process is one.
func runChild(t *testing.T, open Opener) bool {
	role := os.Getenv(envRole)
	if role == "" {
		return false
	}
	s, err := open(os.Getenv(envPath))
	if err != nil {
		t.Fatalf("child: open: %v", err)
	}
	defer s.Close()
	switch role {
	case roleKill:
		writeForEver(s)
	case roleFull:
		fillDisk(t, s, os.Getenv(envPath))
	default:
		t.Fatalf("child: unknown role %q", role)
	}
	return true
}

func child(t *testing.T, role, path string) *exec.Cmd {
	t.Helper()
	root, _, _ := strings.Cut(t.Name(), "/")
	cmd := exec.Command(os.Args[0], "-test.run=^"+root+"$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), envRole+"="+role, envPath+"="+path)
	return cmd
}

// writeForEver acknowledges numbers on standard output as four writers commit them.
func writeForEver(s storage.Store) {
	var next atomic.Int64
	var print sync.Mutex
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				var n int64
				err := s.Update(context.Background(), func(tx storage.Tx) error {
					var last int64
					if v, err := tx.Get(storage.Meta, "count"); err == nil {
						fmt.Sscan(string(v), &last)
					}
					n = last + 1
					next.Add(1)
					return errors.Join(
						tx.Put(storage.Meta, "count", fmt.Append(nil, n)),
						tx.Put(storage.Outbox, ackKey(n), fmt.Appendf(nil, `{"n":%d,"pad":%q}`, n, strings.Repeat("x", int(n%700)))))
				})
				print.Lock()
				if err != nil {
					fmt.Println("error:", err)
					os.Exit(1)
				}
				fmt.Println("ack", n)
				print.Unlock()
			}
		})
	}
	wg.Wait()
}

func ackKey(n int64) string { return fmt.Sprintf("ack/%08d", n) }

// testKill kills a writing child with SIGKILL at random moments. What it had
// acknowledged must be there, each once.
func testKill(t *testing.T, open Opener) {
	path := place(t)
	acked := map[int64]bool{}
	for round := range 4 {
		stop := 1 + rand.IntN(150)
		cmd := child(t, roleKill, path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for seen := 0; lines.Scan(); {
			var n int64
			if _, err := fmt.Sscanf(lines.Text(), "ack %d", &n); err != nil {
				t.Errorf("round %d: the child says %q", round, lines.Text())
				continue
			}
			if acked[n] {
				t.Errorf("round %d: %d was acknowledged twice", round, n)
			}
			acked[n] = true
			if seen++; seen == stop {
				cmd.Process.Kill() // and read on what it still had printed
			}
		}
		cmd.Wait()
		s := mustOpen(t, open, path)
		if aside := s.Health().SetAside; len(aside) != 0 {
			t.Errorf("round %d: a kill looks like damage: %q", round, aside)
		}
		checkAcked(t, s, acked)
		mustClose(t, s)
	}
	t.Logf("%d acknowledged over 4 kills", len(acked))
}

func checkAcked(t *testing.T, s storage.Store, acked map[int64]bool) {
	t.Helper()
	var count int64
	fmt.Sscan(get(t, s, storage.Meta, "count"), &count)
	found := int64(0)
	view(t, s, func(r storage.Reader) error {
		for n := range acked {
			if got := read(t, r, storage.Outbox, ackKey(n)); !strings.HasPrefix(got, fmt.Sprintf(`{"n":%d,`, n)) {
				t.Errorf("%d was acknowledged and is %.40q", n, got)
			}
		}
		found = int64(len(scan(t, r, storage.Outbox, storage.Range{Prefix: "ack/"})))
		return nil
	})
	// Transactions that committed without their acknowledgement getting out are fine,
	// halves are not: the counter and the keys are written together.
	if found != count {
		t.Errorf("%d keys, and the counter says %d", found, count)
	}
	// Those survived and will be counted upon by the next round's child.
	for n := int64(1); n <= count; n++ {
		acked[n] = true
	}
}

// testFullDisk lets a child run into a bound on the size of its files, which the
// kernel reports as it reports a full disk, and then takes the bound away.
func testFullDisk(t *testing.T, open Opener) {
	path := place(t)
	out, err := child(t, roleFull, path).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("recovered")) {
		t.Fatalf("child: %v\n%s", err, out)
	}
	s := mustOpen(t, open, path)
	if aside := s.Health().SetAside; len(aside) != 0 {
		t.Errorf("a full disk looks like damage: %q", aside)
	}
	var n int
	fmt.Sscan(get(t, s, storage.Meta, "acked"), &n)
	for i := range n {
		if got := get(t, s, storage.Outbox, fmt.Sprint(i)); len(got) != 64<<10 {
			t.Errorf("key %d of %d came back with %d bytes", i, n, len(got))
		}
	}
	if got := get(t, s, storage.Outbox, "failed"); got != "<none>" {
		t.Errorf("a failed write is there: %d bytes", len(got))
	}
}

func fillDisk(t *testing.T, s storage.Store, path string) {
	size := 64 << 10
	write := func(key string, n int) error { return writeBlock(s, key, n, size) }
	n := 0
	for ; n < 5; n++ {
		if err := write(fmt.Sprint(n), n+1); err != nil {
			t.Fatal(err)
		}
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	limit := old
	limit.Cur = uint64(largest(t, path)) + 200<<10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	var err error
	for ; n < 100; n++ {
		if err = write(fmt.Sprint(n), n+1); err != nil {
			break
		}
	}
	if err == nil { // a backend of many small files: only one large value meets the bound
		size = int(limit.Cur) + 1
		err = write(fmt.Sprint(n), n+1)
	}
	if !errors.Is(err, storage.ErrFull) {
		t.Fatalf("after %d writes: %v, want ErrFull", n, err)
	}
	for range 3 { // it stays so, and each failure leaves nothing
		if err := write("failed", -1); !errors.Is(err, storage.ErrFull) {
			t.Fatalf("another write: %v, want ErrFull", err)
		}
	}
	if s.Health().Degraded == "" {
		t.Error("health does not say that the disk is full")
	}
	if got := get(t, s, storage.Meta, "acked"); got != fmt.Sprint(n) {
		t.Errorf("while full: acked=%s, want %d", got, n)
	}
	if got := get(t, s, storage.Outbox, fmt.Sprint(n)); got != "<none>" {
		t.Errorf("the write that failed is visible: %d bytes", len(got))
	}
	recoverDisk(t, s, &old, n)
}

// recoverDisk gives the room back: the next write must succeed and health clear.
func recoverDisk(t *testing.T, s storage.Store, limit *syscall.Rlimit, n int) {
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, limit); err != nil {
		t.Fatal(err)
	}
	if err := writeBlock(s, fmt.Sprint(n), n+1, 64<<10); err != nil {
		t.Fatalf("with room again: %v", err)
	}
	if why := s.Health().Degraded; why != "" {
		t.Errorf("with room again health still says: %s", why)
	}
	if !t.Failed() {
		fmt.Println("recovered after", n, "writes")
	}
}

// writeBlock commits a block of a size under key, and the number of blocks.
func writeBlock(s storage.Store, key string, n, size int) error {
	return s.Update(context.Background(), func(tx storage.Tx) error {
		return errors.Join(
			tx.Put(storage.Outbox, key, bytes.Repeat([]byte("x"), size)),
			tx.Put(storage.Meta, "acked", fmt.Append(nil, n)))
	})
}

func largest(t *testing.T, path string) (size int64) {
	for _, f := range files(t, filepath.Clean(path)) {
		if info, err := os.Stat(f); err == nil {
			size = max(size, info.Size())
		}
	}
	return size
}
