package frames

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/frames/framestest"
)

func joinOptions(opts ...jsontext.Options) jsontext.Options { return json.JoinOptions(opts...) }

// answer is what the real gateway said to a captured request.
type answer struct {
	ID    jsontext.Value
	OK    bool
	Error struct{ Code, Message string }
}

// TestCapturesAgree decodes every frame that real clients sent and checks their params:
// what the real gateway refused for its form must be refused with the same words, and
// what it did not must pass.
func TestCapturesAgree(t *testing.T) {
	frames, refused := 0, 0
	for name, records := range framestest.Captures(t) {
		for at := range records {
			r := &records[at]
			if r.Dir != framestest.DirToServer {
				continue
			}
			frames++
			var f Frame
			err := Decode(r.Raw(), &f)
			if err == nil && f.Kind == KindRequest && f.Spec != nil && f.Spec.Params != nil {
				err = f.Spec.Params.Validate(f.Method, f.Params)
			}
			if err == nil && f.Kind != KindRequest {
				err = RefuseFrame(r.Raw())
			}
			real, answered := answerTo(records[at+1:], r.Conn, f.ID)
			switch {
			case err != nil && err.Silent:
				if answered && string(f.ID) != string(EncodedIDInvalid) {
					t.Errorf("%s: %.80s is silent here, the real gateway answered %+v", name, r.Raw(), real)
				}
			case err != nil:
				refused++
				if answered && real.Error.Message != err.Message {
					t.Errorf("%s: %.120s\n here %s\n real %s", name, r.Raw(), err.Message, real.Error.Message)
				} else if !answered && !closedFor(records[at+1:], r.Conn) {
					t.Errorf("%s: %.120s is refused here (%s) and was not answered", name, r.Raw(), err.Message)
				}
			case answered && formRefusal(real.Error.Message):
				t.Errorf("%s: %.120s passes here, the real gateway said %s", name, r.Raw(), real.Error.Message)
			}
		}
	}
	if frames < 300 || refused < 10 {
		t.Errorf("only %d frames, %d refused", frames, refused)
	}
}

// formRefusal reports whether the message is about the form of a frame or its params,
// which is what this package decides.
func formRefusal(message string) bool {
	return strings.HasPrefix(message, "invalid ") && (strings.Contains(message, " params: ") || strings.HasPrefix(message, "invalid request frame: "))
}

// answerTo finds the first answer on conn with that id, before the id is used again.
func answerTo(records []framestest.Record, conn int, id []byte) (answer, bool) {
	for i := range records {
		r := &records[i]
		if r.Conn != conn || r.Frame.Kind() != '{' {
			continue
		}
		var head struct {
			Type string
			answer
		}
		if json.Unmarshal(r.Frame, &head, json.MatchCaseInsensitiveNames(true)) != nil {
			continue
		}
		same := string(head.ID) == string(id)
		if r.Dir == framestest.DirToServer && same {
			return answer{}, false
		}
		if r.Dir == framestest.DirToClient && head.Type == "res" && same {
			return head.answer, true
		}
	}
	return answer{}, false
}

func closedFor(records []framestest.Record, conn int) bool {
	for i := range records {
		if r := &records[i]; r.Conn == conn && r.Dir == framestest.DirServerClose {
			return true
		}
	}
	return false
}
