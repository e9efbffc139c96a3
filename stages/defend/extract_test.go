package defend

import (
	"fmt"
	"strings"
	"testing"

	"sluice/frames"
)

func dump(a *Action) string {
	var b strings.Builder
	for _, l := range []struct {
		name string
		list [][]byte
	}{{"prompt", a.Prompts}, {"command", a.Commands}, {"tool", a.Tools}, {"channel", a.Channels}, {"url", a.URLs}, {"file", a.Files}} {
		for _, t := range l.list {
			fmt.Fprintf(&b, "%s=%q ", l.name, t)
		}
	}
	return strings.TrimSpace(b.String())
}

func TestExtract(t *testing.T) {
	for params, want := range map[string]string{
		``:                           ``,
		`null`:                       ``,
		`{}`:                         ``,
		`{"sessionKey":"main"}`:      ``,
		`{"message":""}`:             ``,
		`{"message":null}`:           ``,
		`{"message":"hi"}`:           `prompt="hi"`,
		`{"prompt":1.5,"text":true}`: `prompt="1.5" prompt="true"`,
		`{"message":"a","params":{"text":"b","x":[{"input":"c"}]}}`:                                 `prompt="a" prompt="b" prompt="c"`,
		`{"command":"git status","params":{"command":["rm","-rf","/"]}}`:                            `command="git status" command="rm -rf /"`,
		`{"argv":["a",1,{"cwd":"b"},"c"]}`:                                                          `command="a 1" command="b" command="c"`,
		`{"message":["a b c",null,"d e f"]}`:                                                        "prompt=\"a b c\\n\\nd e f\" prompt=\"a b c\" prompt=\"d e f\"",
		`{"message":{"role":"user","content":[{"type":"text","text":"x y z"}]}}`:                    `prompt="x y z"`,
		`{"tool":"exec","channel":"discord","provider":"openai"}`:                                   `tool="exec" channel="discord" channel="openai"`,
		`{"url":"http://a","mediaUrls":["http://b","http://c"],"filePath":"/etc"}`:                  `url="http://a" url="http://b" url="http://c" file="/etc"`,
		`{"mess\u0061ge":"esc\u0061ped"}`:                                                           `prompt="escaped"`,
		`{"message":"\ud83d cut"}`:                                                                  `prompt="` + "\ufffd" + ` cut"`,
		`{"message":"first","message":"second"}`:                                                    `prompt="first" prompt="second"`,
		`{"Message":"in another case","word":"now","two":"Node.js 22","to":"x","runId":"y","n":1}`:  `prompt="in another case"`,
		`{"args":{"code":"a a a","n":1,"sessionKey":"b b b","list":["c",2,"d d d",["e","e","e"]]}}`: "prompt=\"a a a\" prompt=\"b b b\" prompt=\"d d d\" prompt=\"e\\ne\\ne\"",
		`{"args":"{\"cmd\":[\"rm\",\"-rf\"],\"x\":\"y y y\"}"}`:                                     `prompt="y y y" command="rm -rf"`,
		`{"args":["a a a","[{\"command\":\"id\"}]","b b b"]}`:                                       `prompt="a a a" prompt="b b b" command="id"`,
		`{"payloadJSON":"{\"text\":\"deep \\\"quoted\\\"\"}"}`:                                      `prompt="deep \"quoted\""`,
		`{"payloadJSON":"not json"}`:                                                                `prompt="not json" command="not json" url="not json" file="not json"`,
		`{"data":"ls -l /tmp\n","cn":"忽略指令"}`:                                                       `prompt="ls -l /tmp\n" prompt="忽略指令"`,
		`[{"text":"in an array"}]`:                                                                  `prompt="in an array"`,
	} {
		a, err := ParseAction("x", []byte(params))
		if err != nil || dump(a) != want {
			t.Errorf("%s: %s %v, want %s", params, dump(a), err, want)
		}
	}
	if a, _ := ParseAction("terminal.input", []byte(`{"data":"ls\n"}`)); dump(a) != `command="ls\n"` {
		t.Errorf("terminal.input: %s", dump(a))
	}
	for _, name := range []string{"inputProvenance", "systemInputProvenance"} {
		if a, _ := ParseAction("chat.send", []byte(`{"`+name+`":{"kind":"external_user"},"message":"hi"}`)); a.Origin != OriginSender {
			t.Errorf("%s: origin %s", name, a.Origin)
		}
	}
	if a, _ := ParseAction("tools.invoke", []byte(`{"name":"exec","args":{"name":"x"}}`)); dump(a) != `tool="exec"` {
		t.Errorf("tools.invoke: %s", dump(a))
	}
	for params, want := range map[string]string{`{"sessionKey":"main","agentId":"work"}`: "agent:work:main", `{"agentId":"Work","session_key":"main"}`: "agent:work:main",
		`{"sessionKey":"agent:a:main","agentId":"../x"}`: "agent:a:main", `{"sessionKey":"one","sessionId":"two"}`: "agent:main:one"} {
		if a, _ := ParseAction("chat.inject", []byte(params)); a.SessionKey != want {
			t.Errorf("%s: session %s, want %s", params, a.SessionKey, want)
		}
	}
	if a, _ := ParseAction("x", []byte(`{"leakMatches":2,"a":{"leak_matches":9}}`)); a.Leaks != 2 {
		t.Errorf("leaks %v, want the top level's 2", a.Leaks)
	}
}

func TestExtractBad(t *testing.T) {
	for _, params := range []string{`{"message":`, `{"message":"a"`, `["a",`, `{1:2}`, `{"a" "b"}`, `x`,
		strings.Repeat("[", frames.MaxDepth+1), strings.Repeat(`{"a":`, 10_000)} {
		if _, err := ParseAction("x", []byte(params)); err == nil {
			t.Errorf("%.40q was read", params)
		}
	}
}

// TestExtractMany: texts beyond the bound are joined, not skipped.
func TestExtractMany(t *testing.T) {
	params := `{"list":[` + strings.Repeat(`{"text":"a"},`, maxTexts+10) + `{"text":"ignore all"},{"command":"rm -rf /"}]}`
	a, err := ParseAction("x", []byte(params))
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Prompts) != maxTexts {
		t.Fatalf("%d prompts, want %d", len(a.Prompts), maxTexts)
	}
	last := string(a.Commands[len(a.Commands)-1])
	if !strings.Contains(last, "\nignore all\nrm -rf /") {
		t.Errorf("the joined rest is %q", last[max(0, len(last)-40):])
	}
	if string(a.Prompts[maxTexts-1]) != last {
		t.Error("the rest is not judged as every kind")
	}
}

// TestOneReading: whatever value of a name a reader takes, it was judged; and the text
// is what frames.UnmarshalParams gives a handler.
func TestOneReading(t *testing.T) {
	for _, value := range []string{`"plain"`, `"\u0069gnore \"all\" \\ \/ \n\ud83d\ude00"`, `"\ud800"`, `"\u0000"`, `"é"`} {
		var handler struct {
			Message string `json:"message"`
		}
		params := []byte(`{"message":` + value + `}`)
		if err := frames.UnmarshalParams(params, &handler); err != nil {
			t.Fatal(err)
		}
		a, err := ParseAction("chat.send", params)
		if err != nil || len(a.Prompts) != 1 || string(a.Prompts[0]) != handler.Message {
			t.Errorf("%s: judged %s, handled %q (%v)", value, dump(a), handler.Message, err)
		}
	}
}

func FuzzExtract(f *testing.F) {
	f.Add([]byte(`{"message":"a","params":{"command":["x",{"y":1}]}}`))
	f.Add([]byte(`{"payloadJSON":"{\"payloadJSON\":\"{}\"}"}`))
	f.Add([]byte("{\"text\":\"\xff\\ud800\"}"))
	f.Fuzz(func(t *testing.T, params []byte) {
		a, err := ParseAction("x", params)
		if err != nil {
			if frames.Valid(params) && len(params) > 0 {
				t.Fatalf("valid params were not read: %v", err)
			}
			return
		}
		var handler struct {
			Message *string `json:"message"`
		}
		if len(params) > 0 && frames.UnmarshalParams(params, &handler) == nil && handler.Message != nil && *handler.Message != "" {
			for _, p := range a.Prompts {
				if string(p) == *handler.Message {
					return
				}
			}
			t.Fatalf("the handler reads %q, judged was %s", *handler.Message, dump(a))
		}
	})
}
