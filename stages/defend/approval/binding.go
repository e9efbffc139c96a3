package approval

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"

	"sluice/frames"

	"github.com/go-json-experiment/json"
)

// Sum is the SHA-256 of the exact content that an approval is bound to.
type Sum [sha256.Size]byte

// String is the sum in hex.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// MarshalText and UnmarshalText write it in hex.
func (s Sum) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, s[:]), nil }

// UnmarshalText: see MarshalText.
func (s *Sum) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(s) {
		return fmt.Errorf("a SHA-256 of %d characters", len(text))
	}
	_, err := hex.Decode(s[:], text)
	return err
}

// SumOf is the sum of content that is approved as it is.
func SumOf(content []byte) Sum { return sha256.Sum256(content) }

// parts hashes fields such that no two lists of fields have the same sum by running into
// each other: each comes after its length.
type parts struct{ h hash.Hash }

func newParts(domain string) parts {
	p := parts{sha256.New()}
	p.add(domain)
	return p
}

func (p parts) add(fields ...string) {
	var n [8]byte
	for _, f := range fields {
		binary.BigEndian.PutUint64(n[:], uint64(len(f)))
		p.h.Write(n[:])
		p.h.Write([]byte(f))
	}
}

func (p parts) list(fields []string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(fields)))
	p.h.Write(n[:])
	p.add(fields...)
}

func (p parts) sum() (s Sum) {
	p.h.Sum(s[:0])
	return s
}

// sum is over all of a that decides what would be done.
func (a *Ask) sum() Sum {
	if a.Kind == KindPlugin {
		p := newParts("sluice approval plugin 1")
		p.add(a.PluginID, a.Title, a.Description, a.Detail, a.ToolName, a.ToolCallID, a.AgentID, a.SessionKey, string(a.Scope))
		return p.sum()
	}
	p := newParts("sluice approval exec 1")
	a.bind(p)
	p.add(a.SessionKey, a.SessionID, a.RunID, a.ToolCallID)
	return p.sum()
}

// bind adds what a command does and where: what allow-always allows, and nothing else.
func (a *Ask) bind(p parts) {
	// As they came: a folder whose name ends in a blank is another folder.
	p.add(a.Host, a.NodeID, a.AgentID, a.Cwd, a.ResolvedPath, a.Command)
	p.list(a.Argv)
	var env []string
	for _, name := range slices.Sorted(maps.Keys(a.Env)) {
		env = append(env, name, a.Env[name])
	}
	p.list(env)
	// The script that a node's command would read, by its own sum.
	var script struct {
		MutableFileOperand struct {
			Path   string `json:"path"`
			SHA256 string `json:"sha256"`
		} `json:"mutableFileOperand"`
	}
	if len(a.Plan) > 0 && json.Unmarshal(a.Plan, &script) == nil {
		p.add(script.MutableFileOperand.Path, script.MutableFileOperand.SHA256)
	}
}

// scope is what a standing grant covers: one command in one folder, for one agent.
type scope struct {
	key     Sum
	agentID string
	command string
	cwd     string
}

func newScope(a *Ask) *scope {
	p := newParts("sluice standing grant 1")
	a.bind(p)
	return &scope{key: p.sum(), agentID: strings.TrimSpace(a.AgentID), command: a.Command, cwd: strings.TrimSpace(a.Cwd)}
}

// envHash is the real gateway's sum over a command's environment; nil without one.
func envHash(env map[string]string) *string {
	if len(env) == 0 {
		return nil
	}
	var entries [][2]string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		entries = append(entries, [2]string{name, env[name]})
	}
	raw, err := frames.MarshalPayload(entries)
	if err != nil {
		return nil
	}
	s := SumOf(raw).String()
	return &s
}
