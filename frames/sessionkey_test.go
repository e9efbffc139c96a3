package frames

import (
	"errors"
	"strings"
	"testing"

	"sluice/frames/framestest"
)

func TestParitySessionKey(t *testing.T) {
	var table struct {
		Cases []struct {
			Key, Kind                          string
			AgentID, Channel, ScopeID, TopicID *string
			Gap                                string
		}
	}
	framestest.ReadSharedJSON(t, &table, "parity", "derived", "session-key.json")
	or := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	if len(table.Cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range table.Cases {
		k, err := ParseSessionKey(c.Key)
		same := err == nil && k.Kind.String() == c.Kind && k.Agent == or(c.AgentID) && k.Channel == or(c.Channel) &&
			k.Scope == or(c.ScopeID) && k.Topic == or(c.TopicID)
		if same == (c.Gap != "") {
			t.Errorf("%s: %+v, %v; the reference says %s %s %s %s %s (gap %q)", c.Key, k, err, c.Kind, or(c.AgentID), or(c.Channel), or(c.ScopeID), or(c.TopicID), c.Gap)
		}
	}
}

func TestParityRoutingCorpusKeys(t *testing.T) {
	var corpus struct {
		Cases []struct {
			Requests []struct {
				SessionKey string `json:"session_key"`
				ChatType   string `json:"chat_type"`
			}
		}
	}
	framestest.ReadSharedJSON(t, &corpus, "parity", "session-routing-corpus.json")
	n := 0
	for _, c := range corpus.Cases {
		for _, r := range c.Requests {
			n++
			k, err := ParseSessionKey(r.SessionKey)
			if err != nil || k.InGroup() != (r.ChatType == "group") {
				t.Errorf("%s: %+v, %v", r.SessionKey, k, err)
			}
		}
	}
	if n == 0 {
		t.Error("no cases")
	}
}

func TestSessionKeyGrammar(t *testing.T) {
	for in, want := range map[string]SessionKey{
		"agent:main:telegram:direct:42":                 {Kind: SessionDirect, Agent: "main", Channel: "telegram", Scope: "42"},
		"agent:main:direct:42":                          {Kind: SessionDirect, Agent: "main", Scope: "42"},
		"agent:main:slack:work:direct:u1":               {Kind: SessionDirect, Agent: "main", Channel: "slack", Account: "work", Scope: "u1"},
		"agent:main:slack:channel:c1:thread:171.2":      {Kind: SessionChannel, Agent: "main", Channel: "slack", Scope: "c1", Thread: "171.2"},
		"agent:main:main:thread:9":                      {Kind: SessionMain, Agent: "main", Scope: "main", Thread: "9"},
		"agent:main:discord:group:a:b:c":                {Kind: SessionGroup, Agent: "main", Channel: "discord", Scope: "a:b:c"},
		"agent:main:telegram:group:-1:topic:7:thread:3": {Kind: SessionGroup, Agent: "main", Channel: "telegram", Scope: "-1", Topic: "7", Thread: "3"},
		"agent:ops:subagent:5f0c":                       {Kind: SessionSubagent, Agent: "ops", Scope: "5f0c"},
		"subagent:5f0c":                                 {Kind: SessionSubagent, Scope: "5f0c"},
		"agent:main:cron:daily:run:1":                   {Kind: SessionCron, Agent: "main", Channel: "internal", Scope: "daily:run:1"},
		"agent:main:hook:5f":                            {Kind: SessionHook, Agent: "main", Channel: "internal", Scope: "5f"},
		"agent:main:explicit:s1":                        {Kind: SessionExplicit, Agent: "main", Scope: "s1"},
		"agent:main:openai-user:bob":                    {Kind: SessionHTTPUser, Agent: "main", Scope: "bob"},
		"discord:group:g1":                              {Kind: SessionGroup, Channel: "discord", Scope: "g1"},
		"agent:main:discord:group:":                     {Kind: SessionOther, Agent: "main", Channel: "discord", Scope: "group:"},
		"../../etc/passwd":                              {Kind: SessionOther},
		"unknown":                                       {Kind: SessionOther},
	} {
		got, err := ParseSessionKey(in)
		want.Key = strings.ToLower(in)
		if err != nil || got != want {
			t.Errorf("%s\n got %+v, %v\nwant %+v", in, got, err, want)
		}
	}
}

func TestSessionKeyCanonical(t *testing.T) {
	for in, want := range map[string]string{
		"main": "agent:main:main", " Main ": "agent:main:main", "global": "global", "UNKNOWN": "unknown",
		"plainkey": "agent:main:plainkey", "agent:Ops:Main": "agent:ops:main", "discord:group:G": "agent:main:discord:group:g",
		"cron:daily": "agent:main:cron:daily", "agent: ops :x": "agent:ops:x",
		"agent:main:signal:group:AbC=:thread:X": "agent:main:signal:group:AbC=:thread:x",
		"agent:main:matrix:channel:!Ab:Ex.org":  "agent:main:matrix:channel:!Ab:Ex.org",
		"MATRIX:group:!Ab:thread:$Ev":           "agent:main:matrix:group:!Ab:thread:$Ev",
	} {
		k, err := ParseSessionKey(in)
		if err != nil || k.Canonical("") != want {
			t.Errorf("%q: %q, %v; want %q", in, k.Canonical(""), err, want)
		}
		again, err := ParseSessionKey(want)
		if err != nil || again.Canonical("other") != want {
			t.Errorf("%q is not canonical: %q, %v", want, again.Canonical("other"), err)
		}
	}
	k, _ := ParseSessionKey("work")
	if k.Canonical("ops") != "agent:ops:work" || k.AgentOr("ops") != "ops" || k.AgentOr("") != "main" {
		t.Errorf("%+v", k)
	}
}

func TestSessionKeyRefusals(t *testing.T) {
	for in, want := range map[string]error{
		"": ErrSessionKeyEmpty, " \n\u00a0": ErrSessionKeyEmpty, strings.Repeat("a", 513): ErrSessionKeyLong,
		"a\x00b": ErrSessionKeyText, "a\nb": ErrSessionKeyText, "a\xffb": ErrSessionKeyText, "a\x7f": ErrSessionKeyText, "::::": ErrSessionKeyForm,
		"agent:": ErrSessionKeyAgent, "agent:main": ErrSessionKeyAgent, "agent:main:": ErrSessionKeyAgent, "agent::main": ErrSessionKeyAgent,
		"agent:main::x": ErrSessionKeyAgent, "agent:../..:main": ErrSessionKeyAgent, "agent:a b:main": ErrSessionKeyAgent,
	} {
		if _, err := ParseSessionKey(in); !errors.Is(err, want) {
			t.Errorf("%.40q: %v, want %v", in, err, want)
		}
	}
	if _, err := ParseSessionKey(strings.Repeat("a", 512)); err != nil {
		t.Error(err)
	}
}

func TestIncognitoKeys(t *testing.T) {
	for in, want := range map[string]bool{
		"agent:main:dashboard:incognito-1": true, " AGENT:x:Subagent:Incognito-a ": true, "agent:m:internal-session-effects:incognito-q": true,
		"agent:main:dashboard:incognito-": false, "agent:main:dashboard:x": false, "agent::dashboard:incognito-1": false, "agent:main:dashboard:incognito-1:2": false,
	} {
		if IsIncognitoKey(in) != want {
			t.Errorf("%s: %v", in, !want)
		}
	}
}

func FuzzParseSessionKey(f *testing.F) {
	for _, s := range []string{"main", "agent:main:telegram:group:1:topic:2:thread:3", "agent:x:matrix:channel:!A:thread:B", "signal:group:Ab:signal:group:", "node-1", "İ:signal:group:X", "::::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseSessionKey(s)
		if err != nil {
			return
		}
		c := k.Canonical("ops")
		again, err := ParseSessionKey(c)
		if len(c) > MaxSessionKeyBytes {
			return // the agent was added to a key of full length
		}
		if err != nil || again.Canonical("other") != c {
			t.Fatalf("%q: canonical %q parses to %q, %v", s, c, again.Canonical("other"), err)
		}
		if k.Key != "unknown" && k.Key != "global" && (again.Kind == SessionNode) != (k.Kind == SessionNode) && !strings.HasPrefix(k.Key, "node-") {
			t.Fatalf("%q: kind %v, canonical kind %v", s, k.Kind, again.Kind)
		}
	})
}

func BenchmarkParseSessionKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_, _ = ParseSessionKey("agent:main:telegram:group:123:topic:44")
	}
}
