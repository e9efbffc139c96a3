package measure

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// clockTick is the unit of utime and stime in /proc: USER_HZ, 100 a second on every
// Linux port that Go supports.
const clockTick = 10 * time.Millisecond

// Usage is one look at a process.
type Usage struct {
	RSS     int64 // bytes resident
	Threads int
	FDs     int // open descriptors; -1 if they may not be counted
	User    time.Duration
	System  time.Duration
}

// CPU is user and system time together.
func (u Usage) CPU() time.Duration { return u.User + u.System }

// Process reads one process by its pid. Only Linux has /proc in this form; elsewhere
// Read returns an error that says so.
type Process struct {
	pid   int
	start string // field 22, so that a reused pid is noticed
	buf   []byte
}

// OpenProcess checks that the process is there.
func OpenProcess(pid int) (*Process, error) {
	p := &Process{pid: pid, buf: make([]byte, 4096)}
	f, err := p.stat()
	if err != nil {
		return nil, fmt.Errorf("process %d cannot be read from /proc: %w; give the server's pid on this machine, or leave --pid out", pid, err)
	}
	p.start = string(f[19])
	return p, nil
}

// stat returns the fields of /proc/pid/stat from the third on; the second may hold
// blanks and brackets, so the last bracket is looked for.
func (p *Process) stat() ([][]byte, error) {
	b, err := p.read("stat")
	if err != nil {
		return nil, err
	}
	i := bytes.LastIndexByte(b, ')')
	f := bytes.Fields(b[i+1:])
	if i < 0 || len(f) < 22 {
		return nil, fmt.Errorf("unknown form of /proc/%d/stat", p.pid)
	}
	return f, nil
}

func (p *Process) read(name string) ([]byte, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(p.pid) + "/" + name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := f.Read(p.buf)
	if err != nil {
		return nil, err
	}
	return p.buf[:n], nil
}

// Read looks at the process. It fails when the process has gone or another one has its
// pid.
func (p *Process) Read() (Usage, error) {
	f, err := p.stat()
	if err != nil {
		return Usage{}, fmt.Errorf("process %d has gone: %w", p.pid, err)
	}
	if string(f[19]) != p.start {
		return Usage{}, fmt.Errorf("process %d has gone and its pid is another's now", p.pid)
	}
	num := func(i int) int64 { n, _ := strconv.ParseInt(string(f[i]), 10, 64); return n }
	u := Usage{User: time.Duration(num(11)) * clockTick, System: time.Duration(num(12)) * clockTick,
		Threads: int(num(17)), RSS: num(21) * int64(os.Getpagesize()), FDs: -1}
	return u, nil
}

// CountFDs counts the open descriptors; it costs a directory listing, so Read leaves it
// out. -1 if they may not be counted.
func (p *Process) CountFDs() int {
	d, err := os.Open("/proc/" + strconv.Itoa(p.pid) + "/fd")
	if err != nil {
		return -1
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return -1
	}
	return len(names)
}

// Self is this process's own processor time, to show what the generator itself costs.
func Self() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
