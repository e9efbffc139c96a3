package defend

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/pipeline"
)

// quarantine keeps one file for each blocked action: blocked-<unix ms>-<id>.json with
// {request, decision} (first-runtime.md 6.8). A file appears whole or not at all, is
// readable by its owner only, and never replaces another. At a bound the oldest files
// make room, with a warning and a count.
type quarantine struct {
	dir    string
	redact redactor
	log    *slog.Logger
	stats  *Stats

	// Bounds can change while a write waits for the disk with mu held.
	entryBytes, maxFiles, maxBytes atomic.Int64
	failed                         atomic.Pointer[string] // why the last write failed

	mu    sync.Mutex
	files []evidence // oldest first
	bytes int64
}

type evidence struct {
	name string
	size int64
}

func newQuarantine(cfg QuarantineConfig, redact redactor, log *slog.Logger, stats *Stats) *quarantine {
	q := &quarantine{redact: redact, log: log, stats: stats}
	if cfg.Enabled {
		q.dir = cfg.Dir
	}
	q.bound(cfg)
	return q
}

// on reports whether evidence is written at all.
func (q *quarantine) on() bool { return q.dir != "" }

// health says why the last write failed; empty when it did not.
func (q *quarantine) health() string {
	if why := q.failed.Load(); why != nil {
		return "quarantine: " + *why
	}
	return ""
}

// bound takes over new bounds.
func (q *quarantine) bound(cfg QuarantineConfig) {
	q.entryBytes.Store(int64(cfg.MaxEntryBytes))
	q.maxFiles.Store(int64(cfg.MaxFiles))
	q.maxBytes.Store(cfg.MaxBytes)
}

const (
	evidencePrefix = "blocked-"
	evidenceSuffix = ".json"
	tempPrefix     = ".blocked-"
	// maxIDBytes bounds the part of a file name that comes from the client.
	maxIDBytes = 80
	// maxSameName bounds the files of one millisecond and id.
	maxSameName = 10_000
)

// open makes the folder and reads what is there. Half-written files of an earlier
// process are removed: their actions were not answered as blocked with a file name.
func (q *quarantine) open() error {
	if !q.on() {
		return nil
	}
	if err := os.MkdirAll(q.dir, 0o700); err != nil {
		return fmt.Errorf("defend.quarantine.dir: %w; name a folder that can be written, or set defend.quarantine.enabled to false", err)
	}
	entries, err := os.ReadDir(q.dir)
	if err != nil {
		return fmt.Errorf("defend.quarantine.dir: %w", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.files, q.bytes = nil, 0
	for _, entry := range entries {
		name := entry.Name()
		switch {
		case strings.HasPrefix(name, tempPrefix):
			_ = os.Remove(filepath.Join(q.dir, name)) // left over; the next start tries again
		case strings.HasPrefix(name, evidencePrefix) && strings.HasSuffix(name, evidenceSuffix):
			if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
				q.files = append(q.files, evidence{name, info.Size()})
				q.bytes += info.Size()
			}
		}
	}
	sort.Slice(q.files, func(i, j int) bool { return older(q.files[i].name, q.files[j].name) })
	return nil
}

// older compares names by the time in them.
func older(a, b string) bool {
	ta, tb := nameTime(a), nameTime(b)
	if ta != tb {
		return ta < tb
	}
	return a < b
}

func nameTime(name string) int64 {
	ms, _, _ := strings.Cut(strings.TrimPrefix(name, evidencePrefix), "-")
	t, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return 0
	}
	return t
}

// write stores the evidence of a blocked action and returns the file's name. It returns
// when the file is durable.
func (q *quarantine) write(a *Action, d *pipeline.Decision) (string, error) {
	body, err := q.redact.encodeEvidence(a, d, int(q.entryBytes.Load()))
	if err != nil {
		return "", q.fail(fmt.Errorf("encode: %w", err))
	}
	temp, err := q.writeTemp(body)
	if err != nil {
		return "", q.fail(err)
	}
	defer func() { _ = os.Remove(temp) }() // gone already unless publishing failed
	base := evidencePrefix + strconv.FormatInt(time.Now().UnixMilli(), 10) + "-" + fileID(q.redact.name(a.RequestID()))

	q.mu.Lock()
	defer q.mu.Unlock()
	q.makeRoom(int64(len(body)))
	name, err := q.publish(temp, base)
	if err != nil {
		return "", q.fail(err)
	}
	q.files = append(q.files, evidence{name, int64(len(body))})
	q.bytes += int64(len(body))
	q.stats.QuarantineWritten.Add(1)
	q.failed.Store(nil)
	return name, nil
}

func (q *quarantine) fail(err error) error {
	q.stats.QuarantineFailed.Add(1)
	why := err.Error()
	q.failed.Store(&why)
	return err
}

// retryEvidence is how often a folder that failed is tried again.
const retryEvidence = 5 * time.Second

// watch tries a folder that failed until it is well, so that health does not speak of a
// full disk long after there is room again.
func (q *quarantine) watch(ctx context.Context) {
	tick := time.NewTicker(retryEvidence)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		why := q.failed.Load()
		if why == nil {
			continue
		}
		if temp, err := q.writeTemp([]byte("{}")); err == nil && os.Remove(temp) == nil {
			q.failed.CompareAndSwap(why, nil)
		}
	}
}

func (q *quarantine) writeTemp(body []byte) (string, error) {
	f, err := os.CreateTemp(q.dir, tempPrefix+"*") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(body)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// publish gives the finished file its name. A link, unlike a rename, fails when the name
// is taken; where the file system has no links, a look comes before the rename.
func (q *quarantine) publish(temp, base string) (string, error) {
	for n := range maxSameName {
		name := base
		if n > 0 {
			name += "-" + strconv.Itoa(n+1)
		}
		name += evidenceSuffix
		path := filepath.Join(q.dir, name)
		err := os.Link(temp, path)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			if _, err = os.Lstat(path); err == nil {
				err = fs.ErrExist
			} else if errors.Is(err, fs.ErrNotExist) {
				err = os.Rename(temp, path)
			}
		}
		switch {
		case err == nil:
			return name, syncDir(q.dir)
		case !errors.Is(err, fs.ErrExist):
			return "", err
		}
	}
	return "", fmt.Errorf("%s: %d files of one id in one millisecond", base, maxSameName)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// makeRoom removes the oldest files until one more of that size fits.
func (q *quarantine) makeRoom(size int64) {
	removed := 0
	maxFiles, maxBytes := int(q.maxFiles.Load()), q.maxBytes.Load()
	for len(q.files) > 0 && (len(q.files) >= maxFiles || q.bytes+size > maxBytes) {
		oldest := q.files[0]
		if err := os.Remove(filepath.Join(q.dir, oldest.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			q.log.Error("quarantine: the oldest file cannot be removed", "file", oldest.name, "err", err)
			return
		}
		q.files, q.bytes = q.files[1:], q.bytes-oldest.size
		removed++
	}
	if removed > 0 {
		q.stats.QuarantinePruned.Add(uint64(removed))
		q.log.Warn("quarantine is full; the oldest evidence was removed", "files", removed,
			"maxFiles", maxFiles, "maxBytes", maxBytes)
	}
}

// fileID makes an id safe in a file name: letters, digits, "_" and "-", bounded.
func fileID(id string) string {
	var b strings.Builder
	for _, r := range id {
		if b.Len() >= maxIDBytes {
			break
		}
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			b.WriteRune(r)
		default:
			b.WriteByte('_')
		}
	}
	return b.String()
}
