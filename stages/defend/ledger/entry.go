package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Kind is what an entry is about.
type Kind string

// The kinds of entries.
const (
	KindDecision  Kind = "decision"  // a verdict above allow
	KindPolicy    Kind = "policy"    // a change of policy, or one that was refused
	KindApproval  Kind = "approval"  // an approval asked for, given, denied or expired
	KindIntegrity Kind = "integrity" // the host's integrity, or this journal's own
	KindRelease   Kind = "release"   // quarantined evidence was handed out
)

func (k Kind) valid() bool {
	switch k {
	case KindDecision, KindPolicy, KindApproval, KindIntegrity, KindRelease:
		return true
	}
	return false
}

// Entry is one line of the journal. Append takes the first block and fills in the
// second; strings that are too long are cut, and secrets in them are hidden.
type Entry struct {
	Kind       Kind     `json:"kind"`
	Action     string   `json:"action,omitzero"` // allow, review, block, accept, approve, …
	Risk       int      `json:"risk,omitzero"`
	Tags       []string `json:"tags,omitempty"`
	Reasons    []string `json:"reasons,omitempty"`
	Source     string   `json:"source,omitzero"` // who asked: an origin, an identity
	Method     string   `json:"method,omitzero"`
	SessionKey string   `json:"sessionKey,omitzero"`
	RequestID  string   `json:"requestId,omitzero"`
	// File is the name of the quarantine file; a name alone, never a path.
	File string `json:"file,omitzero"`
	// Content is the text that was judged; how it is kept is Config.Content's to say.
	Content []byte `json:"-"`

	Seq  uint64 `json:"seq"`
	AtMs int64  `json:"atMs"`
	// ContentSHA256 and ContentBytes are over all of Content. A caller that has the sum
	// and not the text may give them itself.
	ContentSHA256   string `json:"contentSha256,omitzero"`
	ContentBytes    int    `json:"contentBytes,omitzero"`
	ContentRedacted string `json:"contentRedacted,omitzero"`
	// ContentEncrypted is what Decrypt reads.
	ContentEncrypted string `json:"contentEncrypted,omitzero"`
	// Releases are the entries whose evidence a release handed out.
	Releases []uint64 `json:"releases,omitempty"`
	Prev     string   `json:"prev"`
	Hash     string   `json:"hash"`
}

// Bounds of one entry. Together, with six bytes for an escaped one, they stay below
// maxLine, so that every line that was written can be read.
const (
	maxContent = 128 << 10
	maxField   = 512
	maxTag     = 128
	maxTags    = 64
	maxReasons = 32
	maxRelease = 1024
	maxLine    = 1 << 20
)

const cutMark = "… [cut]"

// prepare checks and bounds e, hides secrets and turns Content into what is kept of it.
func (l *Ledger) prepare(e *Entry) error {
	switch {
	case !e.Kind.valid():
		return fmt.Errorf("ledger: %q is no kind of entry", e.Kind)
	case e.Risk < 0 || e.Risk > 100:
		return fmt.Errorf("ledger: risk %d; 0 to 100", e.Risk)
	case e.File != "" && !plainName(e.File):
		return fmt.Errorf("ledger: %q is no plain file name", e.File)
	case len(e.Releases) > maxRelease:
		return fmt.Errorf("ledger: %d entries in one release; at most %d", len(e.Releases), maxRelease)
	}
	if e.ContentSHA256 != "" {
		if _, ok := unhex([]byte(e.ContentSHA256)); !ok {
			return fmt.Errorf("ledger: contentSha256 is not 64 lower-case hexadecimal digits")
		}
	}
	for _, s := range []*string{&e.Action, &e.Source, &e.Method, &e.SessionKey, &e.RequestID} {
		*s = l.clean(*s, maxField)
	}
	e.Tags = l.cleanList(e.Tags, maxTags, maxTag)
	e.Reasons = l.cleanList(e.Reasons, maxReasons, maxField)
	e.ContentRedacted, e.ContentEncrypted = "", ""
	return l.keepContent(e)
}

// keepContent fills in the content's members.
func (l *Ledger) keepContent(e *Entry) error {
	if e.Content == nil {
		return nil
	}
	sum := sha256.Sum256(e.Content)
	e.ContentSHA256, e.ContentBytes = hex.EncodeToString(sum[:]), len(e.Content)
	keep := l.cfg.MaxContentBytes
	if keep == 0 || len(e.Content) == 0 {
		return nil
	}
	switch {
	case l.cfg.Content == ContentEncrypted:
		sealed, err := seal(l.recipient, e.Content[:min(keep, len(e.Content))], e.ContentSHA256)
		if err != nil {
			return fmt.Errorf("ledger: the content could not be encrypted: %w", err)
		}
		e.ContentEncrypted = sealed
	case l.cfg.Content == ContentRedacted && l.deps.Redact != nil:
		// A cut could halve a secret so that it is no longer recognised: redact more than
		// is kept, then cut.
		part := e.Content[:min(keep+redactMargin, len(e.Content))]
		e.ContentRedacted = cut(string(l.deps.Redact(part)), keep, len(part) < len(e.Content))
	}
	return nil
}

// redactMargin is how far beyond the cut a secret may reach and still be recognised.
const redactMargin = 8 << 10

func (l *Ledger) clean(s string, limit int) string {
	if s == "" {
		return s
	}
	if l.deps.Redact != nil {
		s = string(l.deps.Redact([]byte(s[:min(len(s), limit+redactMargin)])))
	}
	return cut(s, limit, false)
}

func (l *Ledger) cleanList(list []string, count, limit int) []string {
	if len(list) == 0 {
		return nil
	}
	out := make([]string, 0, min(len(list), count))
	for i, s := range list {
		if i == count-1 && len(list) > count {
			out = append(out, fmt.Sprintf("… %d more", len(list)-i))
			break
		}
		out = append(out, l.clean(s, limit))
	}
	return out
}

func cut(s string, n int, more bool) string {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s, more = s[:n], true
	}
	if more {
		s += cutMark
	}
	return s
}

// plainName tells a file's name from a path.
func plainName(name string) bool {
	return len(name) <= 255 && name != "." && name != ".." && !strings.ContainsAny(name, "/\\:\x00")
}

// appendLine appends e as the line after prev and sets e's Prev and Hash. The members'
// order is fixed and "hash" is last: the hash is over the bytes before it, so that a
// line is checked as it stands, without reading it as JSON.
func appendLine(dst []byte, e *Entry, prev sum) ([]byte, sum) {
	start := len(dst)
	dst = append(dst, `{"seq":`...)
	dst = strconv.AppendUint(dst, e.Seq, 10)
	dst = append(dst, `,"atMs":`...)
	dst = strconv.AppendInt(dst, e.AtMs, 10)
	dst = appendMember(dst, "kind", string(e.Kind))
	dst = appendMember(dst, "action", e.Action)
	if e.Risk != 0 {
		dst = append(dst, `,"risk":`...)
		dst = strconv.AppendInt(dst, int64(e.Risk), 10)
	}
	dst = appendList(dst, "tags", e.Tags)
	dst = appendList(dst, "reasons", e.Reasons)
	dst = appendMember(dst, "source", e.Source)
	dst = appendMember(dst, "method", e.Method)
	dst = appendMember(dst, "sessionKey", e.SessionKey)
	dst = appendMember(dst, "requestId", e.RequestID)
	dst = appendMember(dst, "contentSha256", e.ContentSHA256)
	if e.ContentBytes != 0 {
		dst = append(dst, `,"contentBytes":`...)
		dst = strconv.AppendInt(dst, int64(e.ContentBytes), 10)
	}
	dst = appendMember(dst, "contentRedacted", e.ContentRedacted)
	dst = appendMember(dst, "contentEncrypted", e.ContentEncrypted)
	dst = appendMember(dst, "file", e.File)
	if len(e.Releases) > 0 {
		dst = append(dst, `,"releases":[`...)
		for i, seq := range e.Releases {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendUint(dst, seq, 10)
		}
		dst = append(dst, ']')
	}
	dst, hash := closeLine(dst, start, prev)
	e.Prev, e.Hash = hex.EncodeToString(prev[:]), hex.EncodeToString(hash[:])
	return dst, hash
}

func appendMember(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, ',', '"')
	dst = append(dst, name...)
	dst = append(dst, '"', ':')
	return appendQuoted(dst, value)
}

func appendQuoted(dst []byte, value string) []byte {
	// The error is about bytes that are no UTF-8; they become U+FFFD.
	dst, _ = jsontext.AppendQuote(dst, value)
	return dst
}

func appendList(dst []byte, name string, list []string) []byte {
	if len(list) == 0 {
		return dst
	}
	dst = append(dst, ',', '"')
	dst = append(dst, name...)
	dst = append(dst, '"', ':', '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendQuoted(dst, s)
	}
	return append(dst, ']')
}

// decodeEntry reads a line that was checked.
func decodeEntry(line []byte) (Entry, error) {
	var e Entry
	err := json.Unmarshal(line, &e)
	return e, err
}
