package connect

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"sync"
	"time"

	"sluice/frames"
)

// Server is what hello says about this process; it does not change.
type Server struct {
	Version string
	// BuildID is empty when the build has none.
	BuildID string
	// BootID is new at each start.
	BootID string
	// ConfigPath and StateDir are shown to admins only.
	ConfigPath string
	StateDir   string
	Started    time.Time
}

// SessionDefaults is hello's snapshot.sessionDefaults.
type SessionDefaults struct {
	DefaultAgentID  string
	MainKey         string
	MainSessionKey  string
	Scope           string
	ModelConfigured bool
}

// grant is what a successful connect got.
type grant struct {
	peer *frames.Peer
	// scopes is the granted set in the order in which the client asked.
	scopes []string
	// token is the device's token, empty without one; issuedMs when it was made.
	token    string
	issuedMs int64
}

// helloWriter encodes hello-ok. What does not change between connects is encoded once:
// a hello is 15 KB with all methods, and the CLI opens a connection for each call.
type helloWriter struct {
	deps Deps
	cfg  Config

	once       sync.Once
	featuresV3 []byte // {"methods":[…],"events":[…]
	features   []byte // the same with capabilities
	server     []byte // up to connId
	serverV3   []byte
	policy     []byte
	policyV3   []byte
}

func (w *helloWriter) prepare() {
	w.featuresV3 = append(w.featuresV3, `{"methods":`...)
	w.featuresV3 = appendStrings(w.featuresV3, w.deps.Methods())
	w.featuresV3 = append(w.featuresV3, `,"events":`...)
	w.featuresV3 = appendStrings(w.featuresV3, w.deps.Events)
	w.features = append(append([]byte(nil), w.featuresV3...), `,"capabilities":`...)
	w.features = append(appendStrings(w.features, w.deps.Capabilities), '}')
	w.featuresV3 = append(w.featuresV3, '}')

	s := w.deps.Server
	w.serverV3 = frames.AppendString([]byte(`{"version":`), s.Version)
	w.server = append([]byte(nil), w.serverV3...)
	if s.BuildID != "" {
		w.server = frames.AppendString(append(w.server, `,"buildId":`...), s.BuildID)
	}
	w.server = frames.AppendString(append(w.server, `,"bootId":`...), s.BootID)
	w.server = append(w.server, `,"connId":`...)
	w.serverV3 = append(w.serverV3, `,"connId":`...)

	c := w.cfg
	w.policyV3 = strconv.AppendInt([]byte(`{"maxPayload":`), w.deps.Policy.MaxPayloadBytes, 10)
	w.policyV3 = strconv.AppendInt(append(w.policyV3, `,"maxBufferedBytes":`...), w.deps.Policy.MaxBufferedBytes, 10)
	w.policyV3 = strconv.AppendInt(append(w.policyV3, `,"tickIntervalMs":`...), w.deps.Policy.TickIntervalMs, 10)
	w.policy = append([]byte(nil), w.policyV3...)
	w.policy = strconv.AppendInt(append(w.policy, `,"attachments":{"maxBytes":`...), c.AttachmentBytes, 10)
	w.policy = strconv.AppendInt(append(w.policy, `,"maxImageBytes":`...), c.ImageBytes, 10)
	w.policy = append(w.policy, `}}`...)
	w.policyV3 = append(w.policyV3, '}')
}

// size is about what append will need.
func (w *helloWriter) size(presence, health []byte) int {
	return len(w.features) + len(w.server) + len(w.policy) + len(presence) + len(health) + 1024
}

// append writes the payload for g. Protocol 3 clients know fewer members and refuse
// others (wire.md 9).
func (w *helloWriter) append(dst []byte, g *grant, mode, authName string, presence, health []byte, now time.Time) []byte {
	v4 := g.peer.Protocol >= 4
	dst = append(dst, `{"type":"hello-ok","protocol":`...)
	dst = strconv.AppendInt(dst, int64(g.peer.Protocol), 10)
	dst = append(dst, `,"server":`...)
	dst = append(dst, pick(v4, w.server, w.serverV3)...)
	dst = frames.AppendString(dst, g.peer.ConnID)
	dst = append(dst, `},"features":`...)
	dst = append(dst, pick(v4, w.features, w.featuresV3)...)
	dst = w.appendSnapshot(dst, g, mode, presence, health, now)
	dst = w.appendAuth(dst, g, authName)
	dst = append(dst, `,"policy":`...)
	dst = append(dst, pick(v4, w.policy, w.policyV3)...)
	return append(dst, '}')
}

func pick(v4 bool, a, b []byte) []byte {
	if v4 {
		return a
	}
	return b
}

func (w *helloWriter) appendSnapshot(dst []byte, g *grant, mode string, presence, health []byte, now time.Time) []byte {
	v4 := g.peer.Protocol >= 4
	dst = append(dst, `,"snapshot":{`...)
	if v4 {
		dst = append(dst, `"suspension":{"phase":"accepting"},`...)
	}
	dst = append(dst, `"presence":`...)
	dst = append(dst, presence...)
	dst = append(dst, `,"health":`...)
	dst = append(dst, health...)
	v := w.deps.Versions.Snapshot()
	dst = strconv.AppendUint(append(dst, `,"stateVersion":{"presence":`...), v.Presence, 10)
	dst = strconv.AppendUint(append(dst, `,"health":`...), v.Health, 10)
	dst = strconv.AppendInt(append(dst, `},"uptimeMs":`...), max(0, now.Sub(w.deps.Server.Started).Milliseconds()), 10)
	if hash := w.deps.ConfigHash(); v4 && hash != "" {
		dst = frames.AppendString(append(dst, `,"appliedConfigHash":`...), hash)
	}
	dst = appendDefaults(dst, w.deps.SessionDefaults(), v4)
	if g.peer.Scopes.Allows(frames.ScopeAdmin) {
		dst = appendMember(dst, "configPath", w.deps.Server.ConfigPath)
		dst = appendMember(dst, "stateDir", w.deps.Server.StateDir)
		dst = appendMember(dst, "authMode", mode)
	}
	return append(dst, '}')
}

func appendDefaults(dst []byte, d SessionDefaults, v4 bool) []byte {
	dst = frames.AppendString(append(dst, `,"sessionDefaults":{"defaultAgentId":`...), d.DefaultAgentID)
	if v4 {
		dst = strconv.AppendBool(append(dst, `,"modelConfigured":`...), d.ModelConfigured)
		// One gateway, one owner: there is nobody to choose between.
		dst = append(dst, `,"ownership":"sole","selectionRequired":false`...)
	}
	dst = frames.AppendString(append(dst, `,"mainKey":`...), d.MainKey)
	dst = frames.AppendString(append(dst, `,"mainSessionKey":`...), d.MainSessionKey)
	dst = appendMember(dst, "scope", d.Scope)
	return append(dst, '}')
}

func (w *helloWriter) appendAuth(dst []byte, g *grant, authName string) []byte {
	dst = append(dst, `,"auth":{`...)
	if g.peer.Protocol < 4 {
		dst = frames.AppendString(append(dst, `"role":`...), g.peer.Role.String())
		dst = appendStrings(append(dst, `,"scopes":`...), g.scopes)
		if g.token != "" {
			dst = appendMember(dst, "deviceToken", g.token)
			dst = strconv.AppendInt(append(dst, `,"issuedAtMs":`...), g.issuedMs, 10)
		}
		return append(dst, '}')
	}
	dst = frames.AppendString(append(dst, `"method":`...), g.peer.AuthMethod)
	dst = frames.AppendString(append(dst, `,"role":`...), g.peer.Role.String())
	dst = appendStrings(append(dst, `,"scopes":`...), g.scopes)
	if g.peer.Role == frames.RoleOperator {
		dst = appendMember(dst, "recoveryScope", recoveryScope(g, authName))
		if g.token != "" {
			dst = append(dst, `,"recoveryMigrationAllowed":true`...)
		}
	}
	if g.token != "" {
		dst = appendMember(dst, "deviceToken", g.token)
		dst = strconv.AppendInt(append(dst, `,"issuedAtMs":`...), g.issuedMs, 10)
	}
	return append(dst, '}')
}

// recoveryScope names, without revealing it, what this client's stored drafts belong
// to: its token, or the shared secret and its device. The Control UI keys its local
// recovery data by it.
func recoveryScope(g *grant, authName string) string {
	var parts []string
	switch {
	case g.token != "":
		parts = []string{"device-token", g.token}
	case g.peer.AuthGeneration != 0 && g.peer.AuthMethod != ModeNone:
		parts = []string{"shared-auth", authName, g.peer.DeviceID}
	case g.peer.DeviceID != "":
		parts = []string{"device", g.peer.DeviceID}
	default:
		return ""
	}
	sum := sha256.Sum256(appendStrings(nil, parts))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// appendMember appends ,"name":"value" unless the value is empty.
func appendMember(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, ',', '"')
	dst = append(dst, name...)
	dst = append(dst, '"', ':')
	return frames.AppendString(dst, value)
}

func appendStrings(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = frames.AppendString(dst, s)
	}
	return append(dst, ']')
}
