package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sluice/frames"
	"sluice/pipeline"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// exchange is one recorded frame and what became of it.
type exchange struct {
	file   string
	line   int
	rec    *record
	conn   *replayConn
	id     jsontext.Value // raw, nil when the frame has none
	method string
	params jsontext.Value
	done   chan struct{} // closed when the frame is settled

	// Written before done is closed, by Settle or by the command itself.
	verdict *verdict
	note    string
	granted bool
	// Guarded by conn.mu: an accepted request is answered again after done.
	answers []jsontext.Value
	closed  *frames.Close
}

// verdict is the defender's decision in print; nil when nothing was judged.
type verdict struct {
	Action  string   `json:"action"`
	Risk    int      `json:"risk"`
	Reasons []string `json:"reasons"`
	Tags    []string `json:"tags"`
}

// read finds the id and the method as far as the frame has any.
func (x *exchange) read(raw []byte) {
	var head struct {
		ID     jsontext.Value `json:"id"`
		Method string         `json:"method"`
		Params jsontext.Value `json:"params"`
	}
	if jsontext.Value(raw).Kind() == '{' && json.Unmarshal(raw, &head) == nil {
		x.id, x.method, x.params = head.ID, head.Method, head.Params
	}
}

// Settle implements pipeline.Settler.
func (x *exchange) Settle(e *pipeline.Envelope) {
	if d := e.Decision; d != nil {
		x.verdict = &verdict{Action: d.Action.String(), Risk: d.Risk, Reasons: append([]string{}, d.Reasons...), Tags: append([]string{}, d.Tags...)}
	}
	close(x.done)
}

// finish ends an exchange that did not go through the pipeline.
func (x *exchange) finish(note string) {
	x.note = note
	if !x.ended() {
		close(x.done)
	}
}

func (x *exchange) ended() bool {
	select {
	case <-x.done:
		return true
	default:
		return false
	}
}

// answerKey is a request of a recording.
type answerKey struct {
	conn int
	id   string
}

// recordedAnswer is what the recorded gateway said to a connect.
type recordedAnswer struct {
	OK      bool           `json:"ok"`
	Error   jsontext.Value `json:"error"`
	Payload struct {
		Protocol int `json:"protocol"`
		Auth     struct {
			Method string   `json:"method"`
			Role   string   `json:"role"`
			Scopes []string `json:"scopes"`
		} `json:"auth"`
	} `json:"payload"`
}

// recordedAnswers are the recorded hello-oks and refusals of connect, by request.
func recordedAnswers(records []*record) map[answerKey]*recordedAnswer {
	asked := map[answerKey]bool{}
	answers := map[answerKey]*recordedAnswer{}
	for _, rec := range records {
		if rec == nil || rec.Frame.Kind() != '{' {
			continue
		}
		var head struct {
			ID     jsontext.Value `json:"id"`
			Method string         `json:"method"`
		}
		if json.Unmarshal(rec.Frame, &head) != nil || head.ID == nil {
			continue
		}
		key := answerKey{rec.Conn, string(head.ID)}
		switch {
		case rec.Dir == "c2s" && head.Method == "connect":
			asked[key] = true
		case rec.Dir == "s2c" && asked[key] && answers[key] == nil:
			a := new(recordedAnswer)
			if json.Unmarshal(rec.Frame, a) == nil {
				answers[key] = a
			}
		}
	}
	return answers
}

// grant gives the connection what the recorded gateway granted. A recording without an
// answer, as written by hand for a test, is granted what it asks for: the state is a
// throw-away.
func (x *exchange) grant(a *recordedAnswer) {
	p, err := frames.ParseConnect(x.params)
	if err != nil {
		x.finish("connect cannot be read, nothing is granted: " + err.Message)
		return
	}
	peer := &frames.Peer{ConnID: x.conn.id, Protocol: min(p.MaxProtocol, frames.ProtocolVersion), AuthMethod: "token", Identity: "shared",
		Local: true, RemoteIP: x.conn.hs.RemoteIP, Caps: p.Caps,
		Client: frames.ClientInfo{ID: p.Client.ID, Version: p.Client.Version, Platform: p.Client.Platform, Mode: p.Client.Mode,
			DisplayName: p.Client.DisplayName, DeviceFamily: p.Client.DeviceFamily, ModelIdentifier: p.Client.ModelIdentifier,
			InstanceID: p.Client.InstanceID, TimeZone: p.Client.TimeZone, UserAgent: p.UserAgent, Locale: p.Locale}}
	if p.Device != nil {
		peer.DeviceID, peer.Identity = p.Device.ID, "device:"+p.Device.ID
	}
	role, scopes, how := p.Role, p.Scopes, "as asked: no answer is recorded"
	if a != nil {
		if !a.OK {
			x.finish("connect was refused when it was recorded: " + string(a.Error))
			return
		}
		how = "as recorded"
		peer.Protocol = a.Payload.Protocol
		if g := a.Payload.Auth; g.Role != "" { // protocol 3 says it only with a device token
			role, scopes = g.Role, g.Scopes
			peer.AuthMethod = firstOf(g.Method, peer.AuthMethod)
		}
	}
	switch firstOf(role, frames.DefaultRole) {
	case "operator":
		peer.Role = frames.RoleOperator
	case "node":
		peer.Role = frames.RoleNode
	default:
		x.finish(fmt.Sprintf("connect asks for the unknown role %q, nothing is granted", role))
		return
	}
	peer.Scopes = frames.ParseScopes(scopes)
	x.conn.Accept(peer)
	x.granted = true
	x.finish(fmt.Sprintf("%s [%s] %s", peer.Role, strings.Join(peer.Scopes.Names(), " "), how))
}

// outcome is what is printed for one frame.
type outcome struct {
	File     string           `json:"file"`
	Line     int              `json:"line"`
	Conn     int              `json:"conn"`
	ID       jsontext.Value   `json:"id,omitzero"`
	Method   string           `json:"method,omitzero"`
	Granted  bool             `json:"granted,omitzero"` // a connect that was granted
	Note     string           `json:"note,omitzero"`
	Answers  []jsontext.Value `json:"answers"`
	Verdict  *verdict         `json:"verdict"`
	Close    *closeView       `json:"close,omitzero"`
	Expected bool             `json:"expected"`
	Mismatch string           `json:"mismatch,omitzero"`
}

type closeView struct {
	Code   int    `json:"code"`
	Reason string `json:"reason"`
}

func (x *exchange) outcome() outcome {
	x.conn.mu.Lock()
	o := outcome{File: x.file, Line: x.line, Conn: x.rec.Conn, ID: x.id, Method: x.method, Answers: append([]jsontext.Value{}, x.answers...)}
	if x.closed != nil {
		o.Close = &closeView{int(x.closed.Code), x.closed.Reason}
	}
	x.conn.mu.Unlock()
	if x.ended() {
		o.Note, o.Verdict, o.Granted = x.note, x.verdict, x.granted
	} else {
		o.Note = "not settled when the gateway stopped"
	}
	if o.Expected = x.rec.Expect != nil; o.Expected {
		o.Mismatch = o.check(x.rec.Expect)
	}
	return o
}

// action is the verdict in one word.
func (o *outcome) action() string {
	if o.Verdict == nil {
		return "none"
	}
	return o.Verdict.Action
}

// check compares with an expectation and says what differs. The first answer counts: a
// second one depends on a model.
func (o *outcome) check(expect jsontext.Value) string {
	var want map[string]any
	if err := json.Unmarshal(expect, &want); err != nil {
		return "expect cannot be read: " + err.Error()
	}
	if v, ok := want["verdict"]; ok {
		if v != o.action() {
			return fmt.Sprintf("verdict is %s, expected %v", o.action(), v)
		}
		delete(want, "verdict")
	}
	if len(want) == 0 {
		return ""
	}
	if o.Granted {
		return differs(want, map[string]any{"ok": true}, "")
	}
	if len(o.Answers) == 0 {
		return "there is no answer"
	}
	var got any
	if err := json.Unmarshal(o.Answers[0], &got); err != nil {
		return "the answer cannot be read: " + err.Error()
	}
	return differs(want, got, "")
}

// differs looks for want in got: objects may have more members, lists must be as long,
// everything else must be equal. It returns the first difference.
func differs(want, got any, path string) string {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			break
		}
		for _, k := range sortedKeys(w) {
			v, there := g[k]
			if !there {
				return fmt.Sprintf("%s is missing, expected %s", path+"/"+k, inline(w[k]))
			}
			if d := differs(w[k], v, path+"/"+k); d != "" {
				return d
			}
		}
		return ""
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			break
		}
		for i := range w {
			if d := differs(w[i], g[i], fmt.Sprintf("%s/%d", path, i)); d != "" {
				return d
			}
		}
		return ""
	default:
		if want == got {
			return ""
		}
	}
	return fmt.Sprintf("%s is %s, expected %s", firstOf(path, "the answer"), clip(inline(got), 200), inline(want))
}

// text is the outcome for people.
func (o *outcome) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d conn %d %s", o.File, o.Line, o.Conn, firstOf(o.Method, "(no request)"))
	if o.Note != "" {
		fmt.Fprintf(&b, ": %s", o.Note)
	}
	if v := o.Verdict; v != nil {
		fmt.Fprintf(&b, "\n  verdict: %s, risk %d", v.Action, v.Risk)
		if len(v.Reasons) > 0 {
			fmt.Fprintf(&b, " (%s)", strings.Join(v.Reasons, "; "))
		}
	}
	for _, a := range o.Answers {
		fmt.Fprintf(&b, "\n  answer: %s", clip(string(a), 400))
	}
	if o.Close != nil {
		fmt.Fprintf(&b, "\n  closed: %d %s", o.Close.Code, o.Close.Reason)
	}
	if o.Expected {
		fmt.Fprintf(&b, "\n  expect: %s", firstOf(o.Mismatch, "ok"))
	}
	b.WriteByte('\n')
	return b.String()
}

// clip shortens a text for a line of a terminal.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}

func inline(v any) string {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
