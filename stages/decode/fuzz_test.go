package decode

import (
	"context"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"

	"github.com/go-json-experiment/json/jsontext"
)

// FuzzProcess: whatever the bytes, the stage does not panic, and either passes on a
// request, or answers with a frame that is JSON, or is silent where the protocol is.
func FuzzProcess(f *testing.F) {
	for _, s := range []string{``, `{`, `[]`, `null`, `"x"`, `{"type":"req"}`, req("1", "health", ""), req("1", "connect", "{}"),
		req("1", "chat.send", `{"sessionKey":"main","message":"\ud800","idempotencyKey":"k"}`), `{"type":"res","id":"1","ok":true}`,
		`{"type":"req","id":1,"method":"health"}`, `{"type":"req","id":{},"method":{}}`, `{"\u0074ype":"req","id":"1","method":"health"}`,
		`{"type":"req","id":"1","method":"health","expectedProfileId":"p","traceparent":"00-"}`, req("1", "config.patch", `{"raw":"{}"}`),
		req("1", "node.event", `{}`), strings.Repeat("[", 300), `{"type":"event","event":"a"}`, `{"type":"req","type":"req"}`} {
		f.Add([]byte(s), uint8(0))
		f.Add([]byte(s), uint8(2))
	}
	s := newStage(f, Default(), all)
	p, err := pipeline.New(pipeline.Default(), []pipeline.Stage{s}, nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte, who uint8) {
		if !utf8.Valid(raw) {
			t.Skip("the edge closes 1007")
		}
		roles := []frames.Role{frames.RoleNone, frames.RoleNode, frames.RoleOperator, frames.RoleOperator}
		c := client(roles[who%4], []string{"operator.admin", "operator.read"}[who/4%2])
		e := pipelinetest.Raw(c, string(raw))
		v, err := s.Process(context.Background(), e)
		var wire *frames.Error
		switch {
		case err == nil:
			if v != pipeline.Next || e.Frame.Kind != frames.KindRequest || e.Frame.Method == "" || len(e.Frame.ID) == 0 {
				t.Errorf("passed on: verdict %v, %+v", v, e.Frame)
			}
			wire = frames.Unavailable(0, "the test is over")
		case !errors.As(err, &wire):
			t.Fatalf("not the protocol's error: %v", err)
		case e.Peer != nil && wire.Silent && (jsontext.Value(raw).IsValid() || wire.Close != nil):
			t.Errorf("silent about JSON: %s", raw)
		case e.Peer == nil && wire.Close == nil:
			t.Errorf("a broken handshake goes on: %v", wire)
		}
		l := pipeline.EncodeAnswer(e.Frame.ID, nil, wire)
		if !jsontext.Value(l.B).IsValid(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)) && !wire.Silent {
			t.Errorf("the answer is no JSON: %s", l.B)
		}
		l.Release()
		e.Client = nil
		p.Refuse(e, wire)
	})
}
