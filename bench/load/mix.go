package load

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxWeight bounds the sum of a mix's weights: the schedule is a table of that length.
const maxWeight = 1000

// Templates are the params of the methods that need some. In a template {{n}} is the
// request's number on its connection, {{conn}} the connection's number, {{run}} a word
// that is unique for the run, {{uuid}} a fresh UUID, {{session}} a session that the setup
// made. A method without a template is called with {}.
func Templates() map[string]string {
	return map[string]string{
		"chat.inject":       `{"sessionKey":"{{session}}","message":"bench {{run}} {{conn}} {{n}}: a line of text of a usual length, for the transcript."}`,
		"chat.send":         `{"sessionKey":"{{session}}","message":"bench {{conn}} {{n}}","idempotencyKey":"{{uuid}}"}`,
		"chat.history":      `{"sessionKey":"{{session}}","limit":50}`,
		"agent":             `{"sessionKey":"{{session}}","message":"bench {{conn}} {{n}}","idempotencyKey":"{{uuid}}"}`,
		"sessions.patch":    `{"key":"{{session}}","label":"bench {{run}} {{conn}} {{n}}"}`,
		"sessions.describe": `{"key":"{{session}}"}`,
		"sessions.list":     `{"limit":50}`,
	}
}

// twoPhase are the methods whose first answer may only say "accepted" (wire.md 3.2).
func twoPhase(method string) bool {
	switch method {
	case "agent", "exec.approval.request", "plugin.approval.request":
		return true
	}
	return false
}

// method is one compiled entry of the mix.
type method struct {
	name  string
	final bool
	// head stands between the id and the params; parts are the params.
	head  string
	parts []part
}

type part struct {
	kind partKind
	text string
}

type partKind uint8

const (
	literal partKind = iota
	partN
	partConn
	partUUID
	partSession
)

// mix is the methods and the order in which they are called.
type mix struct {
	methods  []method
	order    []uint8 // indexes of methods, spread by weight
	sessions bool    // a template names {{session}}
}

// parseMix reads "a=8,b=1". The run's word is put in by compile.
func parseMix(c Config) (*mix, error) {
	m := &mix{}
	var weights []int
	sum := 0
	for entry := range strings.SplitSeq(c.Mix, ",") {
		name, w, found := strings.Cut(strings.TrimSpace(entry), "=")
		weight := 1
		if found {
			var err error
			if weight, err = strconv.Atoi(w); err != nil || weight < 1 {
				return nil, fmt.Errorf("bench load: weight %q of %s in the mix must be a whole number from 1", w, name)
			}
		}
		if sum += weight; name == "" || sum > maxWeight || len(weights) == 64 {
			return nil, fmt.Errorf("bench load: mix %q: write method=weight,method=weight with at most 64 methods and weights that add up to at most %d", c.Mix, maxWeight)
		}
		text, ok := c.Params[name]
		if !ok {
			if text, ok = Templates()[name]; !ok {
				text = "{}"
			}
		}
		one, err := compile(name, text)
		if err != nil {
			return nil, err
		}
		m.methods = append(m.methods, one)
		weights = append(weights, weight)
	}
	for name := range c.Params {
		if !m.has(name) {
			return nil, fmt.Errorf("bench load: params are given for %s, which is not in the mix %q", name, c.Mix)
		}
	}
	m.spread(weights, sum)
	for _, one := range m.methods {
		for _, p := range one.parts {
			m.sessions = m.sessions || p.kind == partSession
		}
	}
	return m, nil
}

func (m *mix) has(name string) bool {
	for _, one := range m.methods {
		if one.name == name {
			return true
		}
	}
	return false
}

// spread lays the methods out as evenly as their weights allow (smooth weighted round
// robin), so that a mix is a mix at any moment.
func (m *mix) spread(weights []int, sum int) {
	due := make([]int, len(weights))
	for range sum {
		best := 0
		for i, w := range weights {
			due[i] += w
			if due[i] > due[best] {
				best = i
			}
		}
		due[best] -= sum
		m.order = append(m.order, uint8(best))
	}
}

func compile(name, text string) (method, error) {
	quoted, err := jsontext.AppendQuote(nil, name)
	if err != nil {
		return method{}, fmt.Errorf("bench load: method %q: %w", name, err)
	}
	m := method{name: name, final: twoPhase(name), head: `","method":` + string(quoted) + `,"params":`}
	sample, rest := "", text
	for {
		before, after, found := strings.Cut(rest, "{{")
		m.parts = append(m.parts, part{text: before})
		sample += before
		if !found {
			break
		}
		word, tail, closed := strings.Cut(after, "}}")
		kinds := map[string]partKind{"n": partN, "conn": partConn, "uuid": partUUID, "session": partSession}
		kind, known := kinds[word]
		switch {
		case !closed:
			return method{}, fmt.Errorf("bench load: params of %s: {{ without }}", name)
		case word == "run":
			m.parts = append(m.parts, part{text: "{{run}}"})
		case !known:
			return method{}, fmt.Errorf("bench load: params of %s: {{%s}} is unknown; there are n, conn, run, uuid and session", name, word)
		default:
			m.parts = append(m.parts, part{kind: kind})
		}
		sample, rest = sample+"1", tail
	}
	if v := jsontext.Value(sample); !v.IsValid() || v.Kind() != '{' {
		return method{}, errors.New("bench load: params of " + name + " are not a JSON object: " + text)
	}
	return m, nil
}

// bind puts the run's word in.
func (m *mix) bind(run string) {
	for i := range m.methods {
		for j, p := range m.methods[i].parts {
			if p.text == "{{run}}" {
				m.methods[i].parts[j].text = run
			}
		}
	}
}

// append adds the whole request frame. It does not allocate once dst has room.
func (m *method) append(dst []byte, id, n uint64, conn int, session string) []byte {
	dst = append(dst, `{"type":"req","id":"`...)
	dst = strconv.AppendUint(dst, id, 10)
	dst = append(dst, m.head...)
	for i := range m.parts {
		switch p := &m.parts[i]; p.kind {
		case literal:
			dst = append(dst, p.text...)
		case partN:
			dst = strconv.AppendUint(dst, n, 10)
		case partConn:
			dst = strconv.AppendInt(dst, int64(conn), 10)
		case partUUID:
			dst = appendUUID(dst)
		case partSession:
			dst = append(dst, session...)
		}
	}
	return append(dst, '}')
}

// appendUUID writes a version 4 UUID; unique is enough here, so it is not from
// crypto/rand.
func appendUUID(dst []byte) []byte {
	hi, lo := rand.Uint64()&^0xf000|0x4000, rand.Uint64()&^(3<<62)|2<<62
	var raw [16]byte
	for i := range 8 {
		raw[i], raw[8+i] = byte(hi>>(56-8*i)), byte(lo>>(56-8*i))
	}
	for i, at := range [...]int{0, 4, 6, 8, 10} {
		if i > 0 {
			dst = append(dst, '-')
		}
		end := [...]int{4, 6, 8, 10, 16}[i]
		dst = hex.AppendEncode(dst, raw[at:end])
	}
	return dst
}
