package telemetry

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// MemoryLimit says what the Go runtime's soft limit is and why.
type MemoryLimit struct {
	Bytes  int64  `json:"bytes"`  // 0 when there is none
	Source string `json:"source"` // GOMEMLIMIT, cgroup2 …, cgroup1 …, or none
}

// SetMemoryLimit makes the Go runtime collect harder before the cgroup's limit is
// reached instead of being killed at it: ratio of the smallest memory limit on the way
// from this process's cgroup to the root. GOMEMLIMIT, when set, stays as it is, and so
// does everything when ratio is 0 or there is no limit.
func SetMemoryLimit(ratio float64, getenv func(string) string) MemoryLimit {
	if getenv("GOMEMLIMIT") != "" {
		return MemoryLimit{Bytes: debug.SetMemoryLimit(-1), Source: "GOMEMLIMIT"}
	}
	if ratio <= 0 {
		return MemoryLimit{Source: "none"}
	}
	limit := cgroupLimit(os.DirFS("/"))
	if limit.Bytes <= 0 {
		return MemoryLimit{Source: "none"}
	}
	limit.Bytes = int64(float64(limit.Bytes) * min(ratio, 1))
	debug.SetMemoryLimit(limit.Bytes)
	return limit
}

// cgroupLimit reads the limit from a root file system, which tests replace.
func cgroupLimit(root fs.FS) MemoryLimit {
	raw, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return MemoryLimit{Source: "none"}
	}
	best := MemoryLimit{Source: "none"}
	for line := range strings.Lines(string(raw)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3) // id:controllers:path
		if len(parts) != 3 {
			continue
		}
		switch {
		case parts[0] == "0" && parts[1] == "":
			best = smaller(best, climb(root, "sys/fs/cgroup", parts[2], "memory.max", "cgroup2"))
		case hasController(parts[1], "memory"):
			best = smaller(best, climb(root, "sys/fs/cgroup/memory", parts[2], "memory.limit_in_bytes", "cgroup1"))
		}
	}
	return best
}

// climb looks at the cgroup and at every parent: any of them may be the tightest. In a
// container the path often does not exist below the mount, then only the mount's root
// speaks for it.
func climb(root fs.FS, mount, group, file, source string) MemoryLimit {
	best := MemoryLimit{Source: "none"}
	for dir := path.Clean("/" + group); ; dir = path.Dir(dir) {
		name := path.Join(mount, dir, file)
		if v := readLimit(root, name); v > 0 {
			best = smaller(best, MemoryLimit{Bytes: v, Source: source + " /" + name})
		}
		if dir == "/" {
			return best
		}
	}
}

func hasController(list, name string) bool {
	for c := range strings.SplitSeq(list, ",") {
		if c == name {
			return true
		}
	}
	return false
}

// readLimit returns 0 for "max" and for the huge number by which version 1 says the same.
func readLimit(root fs.FS, name string) int64 {
	raw, err := fs.ReadFile(root, name)
	if err != nil {
		return 0
	}
	v, err := strconv.ParseInt(string(bytes.TrimSpace(raw)), 10, 64)
	if err != nil || v <= 0 || v >= 1<<60 {
		return 0
	}
	return v
}

func smaller(a, b MemoryLimit) MemoryLimit {
	if a.Bytes == 0 || b.Bytes > 0 && b.Bytes < a.Bytes {
		return b
	}
	return a
}
