package connect

import (
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"sluice/frames"
)

// Reasons of CONTROL_UI_ORIGIN_NOT_ALLOWED.
const (
	originInvalid    = "origin missing or invalid"
	originNotAllowed = "origin not allowed"
)

const originMessage = "origin not allowed (open the Control UI from the gateway host or allow it in gateway.controlUi.allowedOrigins)"

// originDetails are the details of a refused origin.
type originDetails struct {
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

func originError(reason string) *frames.Error {
	return &frames.Error{Code: frames.CodeInvalidRequest, Message: originMessage,
		Details: originDetails{Code: "CONTROL_UI_ORIGIN_NOT_ALLOWED", Reason: reason}}
}

// origin is a parsed Origin header, lower case.
type origin struct {
	text   string // scheme://host[:port]
	scheme string
	host   string // with a port that is not the scheme's own
	name   string // host without port and brackets
}

var originForm = regexp.MustCompile(`^(?i)[a-z][a-z0-9+.-]*://[^/?#\\]+/?$`)

// hostForm is a name as browsers write it: punycode, no spaces, no colons.
var hostForm = regexp.MustCompile(`^[a-z0-9._-]+$`)

// defaultPorts are dropped from an origin, as browsers do.
var defaultPorts = map[string]string{"http": "80", "https": "443", "ws": "80", "wss": "443", "ftp": "21"}

// parseOrigin reads an Origin header. "null", a path, credentials, escapes and names
// outside ASCII (browsers send punycode) make it invalid.
func parseOrigin(header string) (origin, bool) {
	header = strings.TrimSpace(header)
	if header == "" || header == "null" || !originForm.MatchString(header) || strings.ContainsAny(header, "%") {
		return origin{}, false
	}
	for i := 0; i < len(header); i++ {
		if header[i] <= ' ' || header[i] >= 0x7f {
			return origin{}, false
		}
	}
	u, err := url.Parse(strings.TrimSuffix(header, "/"))
	if err != nil || u.User != nil {
		return origin{}, false
	}
	o := origin{scheme: strings.ToLower(u.Scheme), name: strings.ToLower(u.Hostname())}
	o.host = o.name
	if addr, err := netip.ParseAddr(o.name); err == nil && addr.Is6() {
		o.host = "[" + o.name + "]"
	} else if !hostForm.MatchString(o.name) {
		return origin{}, false
	}
	port := u.Port()
	if port == "" && strings.HasSuffix(u.Host, ":") {
		return origin{}, false
	}
	if port != "" && port != defaultPorts[o.scheme] {
		o.host += ":" + port
	}
	o.text = o.scheme + "://" + o.host
	return o, true
}

// checkOrigin applies the rules of wire.md 3.4: the allow list; the page's own host when
// that host is private; any page of this machine for a client of this machine. It
// returns the reason of a refusal, or "".
func checkOrigin(h *frames.Handshake, allowed []string) string {
	o, ok := parseOrigin(h.Origin)
	if !ok {
		return originInvalid
	}
	for _, a := range allowed {
		if a = strings.ToLower(strings.TrimSpace(a)); a == "*" || a == o.text {
			return ""
		}
	}
	if strings.ToLower(strings.TrimSpace(h.Host)) == o.host && trustedSameHost(h.Host, h.Local) {
		return ""
	}
	if h.Local && loopbackHost(o.name) {
		return ""
	}
	return originNotAllowed
}

// trustedSameHost says whether "the page came from the host that it now calls" proves
// anything: not for public names, which DNS rebinding can point here.
func trustedSameHost(header string, local bool) bool {
	name := hostName(header)
	if name == "" {
		return false
	}
	if loopbackHost(name) {
		return local
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return privateHost(name)
	}
	return strings.HasSuffix(name, ".local") || strings.HasSuffix(name, ".ts.net")
}

var chromeExtensionID = regexp.MustCompile(`^[a-p]{32}$`)

// extensionOrigin returns the canonical origin of a Chrome extension.
func extensionOrigin(header string) (string, bool) {
	o, ok := parseOrigin(header)
	if !ok || o.scheme != "chrome-extension" || !chromeExtensionID.MatchString(o.name) || o.host != o.name {
		return "", false
	}
	return o.text, true
}
