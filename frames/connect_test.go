package frames

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/frames/framestest"
)

const minimalConnect = `{"minProtocol":4,"maxProtocol":4,"client":{"id":"cli","version":"1","platform":"linux","mode":"cli"}}`

func TestParseConnect(t *testing.T) {
	p, err := ParseConnect([]byte(minimalConnect))
	if err != nil || p.Role != "operator" || p.Scopes != nil || p.Device != nil || p.ClientInfo().ID != "cli" {
		t.Errorf("%+v, %v", p, err)
	}
	p, err = ParseConnect([]byte(`{"minProtocol":3,"maxProtocol":4e0,"client":{"id":"node-host","version":"1","platform":"linux","mode":"node","displayName":"n\ud83d"},
		"role":"node","scopes":[],"caps":["system"],"commands":["system.run"],"permissions":{"a":true},"pathEnv":"/bin",
		"device":{"id":"d","publicKey":"k","signature":"s","signedAt":1795399748055,"nonce":"n"},"auth":{"token":"t","password":"p"},
		"locale":"en","userAgent":"ua","computerUse":{"x":[1]},"modelCatalog":{"agentId":"main"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if p.Role != "node" || p.MaxProtocol != 4 || p.Device.SignedAt != 1795399748055 || p.Auth.Password != "p" || !p.Permissions["a"] ||
		p.Client.DisplayName != "n\ufffd" || string(p.ComputerUse) != `{"x":[1]}` || p.ModelCatalog.AgentID != "main" {
		t.Errorf("%+v", p)
	}
}

func TestParseConnectRefusals(t *testing.T) {
	for in, want := range map[string]string{
		``:     "must be object",
		`null`: "must be object",
		`{}`:   "must have required property 'minProtocol'",
		`{"minProtocol":4,"client":{"id":"cli","version":"1","platform":"x","mode":"cli"}}`:                              "must have required property 'maxProtocol'",
		`{"minProtocol":4,"maxProtocol":4,"client":5}`:                                                                   "at /client: must be object",
		`{"minProtocol":0,"maxProtocol":"4","client":{"id":"zz","version":"","platform":"x","mode":"operator"},"foo":1}`: "at root: unexpected property 'foo'; at /minProtocol: must be >= 1; at /maxProtocol: must be integer; at /client/id: must be equal to one of the allowed values; at /client/version: must not have fewer than 1 characters; at /client/mode: must be equal to one of the allowed values",
		strings.Replace(minimalConnect, `"minProtocol":4`, `"minProtocol":1e99`, 1):                                      "at /minProtocol: must be integer",
		strings.Replace(minimalConnect, `"id":"cli"`, `"id":"cli","id":"test"`, 1):                                       "duplicate property 'id'",
	} {
		_, err := ParseConnect([]byte(in))
		if errText(err) != "invalid connect params: "+want {
			t.Errorf("%.90s\n got %s\nwant %s", in, errText(err), want)
		}
	}
}

// TestConnectHasEveryField: a property that the schema has and the struct has not would
// be lost.
func TestConnectHasEveryField(t *testing.T) {
	g := connectSchema.compiled()
	var check func(n *node, v jsontext.Value, at string)
	check = func(n *node, v jsontext.Value, at string) {
		var got map[string]jsontext.Value
		if err := json.Unmarshal(v, &got); err != nil {
			t.Fatal(at, err)
		}
		for i := range n.object.props {
			p := &n.object.props[i]
			if _, ok := got[p.name]; !ok {
				t.Errorf("%s.%s is not in the struct", at, p.name)
			} else if p.node != nil && p.node.object != nil && p.node.object.props != nil {
				check(p.node, got[p.name], at+"."+p.name)
			}
		}
	}
	full, err := json.Marshal(ConnectParams{
		Client:      ConnectClient{DisplayName: "x", BuildID: "x", DeviceFamily: "x", ModelIdentifier: "x", TimeZone: "x", InstanceID: "x"},
		ComputerUse: jsontext.Value("1"), WorkerRuns: &WorkerRuns{BundlePrewarm: 1}, Device: &ConnectDevice{},
		Auth: &ConnectAuth{"x", "x", "x", "x", "x", "x"}, Caps: []string{"x"}, Commands: []string{"x"}, Scopes: []string{"x"},
		Permissions: map[string]bool{"x": true}, PathEnv: "x", Role: "x", ModelCatalog: &ModelCatalog{AgentID: "x"}, Locale: "x", UserAgent: "x",
	})
	if err != nil {
		t.Fatal(err)
	}
	check(g, full, "connect")
}

func TestNegotiateProtocol(t *testing.T) {
	for _, c := range []struct{ min, max, want int }{
		{4, 4, 4}, {3, 4, 4}, {4, 5, 4}, {1, 99, 4}, {3, 3, 3}, {1, 3, 3}, {5, 5, 0}, {1, 2, 0}, {2, 2, 0}, {4, 3, 0}, {9, 1, 0},
	} {
		got, err := NegotiateProtocol(c.min, c.max, "operator", "cli")
		if got != c.want || (err == nil) != (c.want != 0) {
			t.Errorf("%d-%d: %d, %v", c.min, c.max, got, err)
		}
		if err != nil && (err.Close == nil || err.Close.Code != CloseProtocolError || err.Close.Reason != "protocol mismatch") {
			t.Errorf("%d-%d: %+v", c.min, c.max, err)
		}
	}
	_, err := NegotiateProtocol(5, 6, "operator", "cli")
	got := string(AppendError(nil, []byte(`"1"`), err))
	want := `{"type":"res","id":"1","ok":false,"error":{"code":"INVALID_REQUEST","message":"protocol mismatch","details":{"code":"PROTOCOL_MISMATCH","clientMinProtocol":5,"clientMaxProtocol":6,"expectedProtocol":4,"minimumProbeProtocol":3}}}`
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func FuzzParseConnect(f *testing.F) {
	f.Add([]byte(minimalConnect))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseConnect(b)
		if (p == nil) == (err == nil) {
			t.Fatal("neither params nor an error")
		}
		if err != nil && !strings.HasPrefix(err.Message, "invalid connect params: ") {
			t.Fatal(err)
		}
		if p != nil && (p.Client.ID == "" || p.Role == "" || p.MinProtocol < 1) {
			t.Fatalf("%q gives %+v", b, p)
		}
	})
}

// TestEveryCapturedConnectParses: what real clients really send.
func TestEveryCapturedConnectParses(t *testing.T) {
	n := 0
	for name, records := range framestest.Captures(t) {
		for i := range records {
			var f Frame
			if records[i].Dir != framestest.DirToServer || Decode(records[i].Raw(), &f) != nil || f.Method != "connect" {
				continue
			}
			if connectSchema.Validate("connect", f.Params) != nil {
				continue // TestCapturesAgree has those
			}
			n++
			if _, err := ParseConnect(f.Params); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if n < 50 {
		t.Errorf("only %d", n)
	}
}
