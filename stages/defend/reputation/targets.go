package reputation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"sluice/stages/defend"
)

// maxURLBytes bounds an address that is looked up.
const maxURLBytes = 2048

// addresses returns the distinct addresses of a, and how many more there are that are
// not looked up.
func (d *Defender) addresses(a *defend.Action) (urls []string, more int) {
	add := func(raw []byte) {
		u, err := d.clean(raw)
		switch {
		case errors.Is(err, errPrivate) || err == nil && slices.Contains(urls, u):
		case err != nil || len(urls) >= d.cfg.MaxURLs:
			more = min(more+1, maxMore)
		default:
			urls = append(urls, u)
		}
	}
	for _, raw := range a.URLs {
		add(raw)
	}
	for _, list := range [...][][]byte{a.Prompts, a.Commands} {
		for _, text := range list {
			findURLs(text, func(raw []byte) bool { add(raw); return more < maxMore })
		}
	}
	return urls, more
}

// maxMore bounds the counting of addresses that are not looked up.
const maxMore = 1000

// findURLs calls do for each http or https address in text until it returns false.
func findURLs(text []byte, do func([]byte) bool) {
	for at := 0; at < len(text); {
		i := bytes.Index(text[at:], []byte("://"))
		if i < 0 {
			return
		}
		i += at
		at = i + 3
		start := -1
		for _, scheme := range []string{"https", "http"} {
			if i >= len(scheme) && strings.EqualFold(string(text[i-len(scheme):i]), scheme) {
				start = i - len(scheme)
				break
			}
		}
		if start < 0 {
			continue
		}
		end := at
		for end < len(text) && end-start <= maxURLBytes && !ends(text[end]) {
			end++
		}
		if at = end; end == i+3 {
			continue // "http://" by itself names nothing
		}
		if !do(bytes.TrimRight(text[start:end], ".,;:!?)]}*'")) {
			return
		}
	}
}

// ends reports whether c stands behind an address, not in it.
func ends(c byte) bool {
	return c <= ' ' || c == 0x7f || strings.IndexByte("\"<>`|\\^{}", c) >= 0
}

// Why an address is not looked up.
var (
	errPrivate = errors.New("an address of this machine or of a private network")
	errAddress = errors.New("no http address, or too long")
)

// clean makes an address what may be told VirusTotal: without user, password and
// fragment, and without a query that holds a secret.
func (d *Defender) clean(raw []byte) (string, error) {
	if len(raw) > maxURLBytes {
		return "", errAddress
	}
	text := strings.TrimSpace(string(raw))
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || !strings.EqualFold(u.Scheme, "http") && !strings.EqualFold(u.Scheme, "https") {
		return "", errAddress
	}
	if !d.cfg.PrivateURLs && private(u.Hostname()) {
		return "", errPrivate
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	if u.RawQuery != "" && d.deps.Secret != nil && d.deps.Secret([]byte(text)) {
		u.RawQuery = ""
	}
	return u.String(), nil
}

// private reports whether a host is this machine or in a private network: what VirusTotal
// cannot know and need not hear of.
func private(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if ip, err := netip.ParseAddr(host); err == nil {
		ip = ip.Unmap()
		return ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast()
	}
	for _, suffix := range []string{".local", ".internal", ".lan", ".home", ".corp", ".localhost", ".home.arpa", ".test", ".invalid"} {
		if strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return !strings.Contains(host, ".")
}

func (d *Defender) address(ctx context.Context, u string) verdict {
	k := key{kind: anAddress, sum: sha256.Sum256([]byte(u))}
	return d.lookup(ctx, anAddress, k, "/urls/"+base64.RawURLEncoding.EncodeToString([]byte(u)))
}

// Errors about files, none of which names the path.
var (
	errOutside = errors.New("the file is below no folder of defend.reputation.roots")
	errTooBig  = errors.New("the file is larger than defend.reputation.maxFileBytes")
	errKind    = errors.New("it is no regular file")
)

// file hashes a file and looks the hash up.
func (d *Defender) file(ctx context.Context, path string) verdict {
	sum, err := d.hash(ctx, path)
	switch {
	case err == nil:
	case errors.Is(err, errOutside), ctx.Err() != nil:
		return verdict{unavailable: true}
	case errors.Is(err, fs.ErrNotExist):
		return verdict{risk: d.cfg.MissingFileRisk, tag: "vt_file_missing", reason: "a file that the action names is not there"}
	default:
		return verdict{risk: d.cfg.ErrorRisk, tag: "vt_file_error", reason: "a file that the action names cannot be hashed", unavailable: true}
	}
	return d.lookup(ctx, aFile, key{kind: aFile, sum: sum}, "/files/"+hex.EncodeToString(sum[:]))
}

// hash reads a file below one of the roots. A link that leads out of its root is
// refused by the system's own resolution (os.Root), not by comparing names.
func (d *Defender) hash(ctx context.Context, path string) ([sha256.Size]byte, error) {
	err := errOutside
	for _, root := range d.cfg.Roots {
		rel := path
		if filepath.IsAbs(path) {
			var relErr error
			if rel, relErr = filepath.Rel(root, path); relErr != nil {
				continue
			}
		}
		if !filepath.IsLocal(rel) {
			continue
		}
		sum, hashErr := d.hashBelow(ctx, root, rel)
		if hashErr == nil {
			return sum, nil
		}
		// A relative name may be in another root; what was found wrong counts more than
		// that it is missing.
		if errors.Is(err, errOutside) || errors.Is(err, fs.ErrNotExist) {
			err = hashErr
		}
	}
	return [sha256.Size]byte{}, err
}

func (d *Defender) hashBelow(ctx context.Context, root, rel string) (sum [sha256.Size]byte, err error) {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return sum, err
	}
	defer dir.Close()
	// Without O_NONBLOCK opening a pipe would wait for its other end.
	f, err := dir.OpenFile(rel, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return sum, err
	case !info.Mode().IsRegular():
		return sum, errKind
	case info.Size() > d.cfg.MaxFileBytes:
		return sum, errTooBig
	}
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(&reader{ctx, f}, d.cfg.MaxFileBytes+1))
	switch {
	case err != nil:
		return sum, fmt.Errorf("read: %w", err)
	case n > d.cfg.MaxFileBytes:
		return sum, errTooBig
	}
	h.Sum(sum[:0])
	return sum, nil
}

// reader stops when ctx ends.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
