package telemetry

import (
	"os"
	"slices"
	"strings"
	"testing"
)

const smaps = `00400000-01000000 r-xp 00000000 fe:00 42 /opt/a b/sluice
Size:              12288 kB
Anonymous:             0 kB
01000000-01200000 r--p 00c00000 fe:00 42 /opt/a b/sluice
Anonymous:             8 kB
01200000-01300000 rw-p 00e00000 fe:00 42 /opt/a b/sluice
Anonymous:             0 kB
01300000-01400000 r--p 00e00000 fe:00 42 /opt/a b/sluice
Anonymous:             0 kB
7f0000000000-7f0000100000 r--s 00000000 fe:00 43 /state/sluice.db
Anonymous:             0 kB
7f0000200000-7f0000300000 r-xp 00000000 fe:00 44 /usr/lib/libc.so.6
Anonymous:             0 kB
xyz-7f0000300000 r-xp 00000000 fe:00 42 /opt/a b/sluice
Anonymous:             0 kB
`

func TestCleanMappings(t *testing.T) {
	got := cleanMappings(strings.NewReader(smaps), "/opt/a b/sluice")
	if want := []mapping{{0x400000, 0x1000000}, {0x1300000, 0x1400000}}; !slices.Equal(got, want) {
		t.Errorf("%x, want %x: neither what is writable, nor changed, nor another file", got, want)
	}
}

// TestReleaseStartPages: the program goes on after its pages are gone.
func TestReleaseStartPages(t *testing.T) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Skip(err)
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	if len(cleanMappings(f, exe)) == 0 {
		t.Error("the test program has no mapping of its own file")
	}
	before, _ := readRSS()
	ReleaseStartPages()
	after, _ := readRSS()
	t.Logf("RSS %d KiB -> %d KiB", before>>10, after>>10)
	if after > before+4<<20 {
		t.Errorf("RSS grew from %d to %d", before, after)
	}
}
