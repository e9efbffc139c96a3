package connect

import (
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage/auth"
)

// attempt is one connect on its way through the checks, in the order of wire.md 3.3.
type attempt struct {
	h    *Handler
	e    *pipeline.Envelope
	hs   *frames.Handshake
	p    *frames.ConnectParams
	gen  *generation
	kind kind
	who  subject
	now  time.Time
	// revoked is the count of revocations when the attempt began.
	revoked uint64

	protocol int
	role     frames.Role
	// scopes is what may still be granted, in the order in which the client asked.
	scopes []string

	creds credentials
	// device has proved its key; its fields are empty without a device block.
	device auth.Identity
	outcome
	// delay is how long a refusal waits.
	delay time.Duration
}

// run checks the attempt and either prepares its answer and effects or says why not.
func (a *attempt) run() error {
	for _, check := range []func() *frames.Error{
		a.admit, a.shared, a.deviceMissing, a.deviceProof, a.credential, a.runtimeTokens,
	} {
		if err := check(); err != nil {
			a.settle()
			return closing(err)
		}
	}
	return a.authorize()
}

// closing makes a refusal of the handshake end the connection with its own text.
func closing(err *frames.Error) *frames.Error {
	if err.Close != nil {
		return err
	}
	return err.Closing(frames.ClosePolicyViolation)
}

var errInvalidRole = frames.Invalid("invalid role")

// admit checks what needs no secret: protocol, role and where a browser's page is from.
func (a *attempt) admit() *frames.Error {
	p := a.p
	var err *frames.Error
	if a.protocol, err = frames.NegotiateProtocol(p.MinProtocol, p.MaxProtocol, p.Role, p.Client.Mode); err != nil {
		return err
	}
	switch p.Role {
	case "operator":
		a.role = frames.RoleOperator
	case "node":
		a.role = frames.RoleNode
	default:
		return errInvalidRole
	}
	a.scopes = p.Scopes
	if err := a.admitCopilot(); err != nil {
		return err
	}
	if needsOrigin(a.hs, &p.Client, a.kind) {
		if reason := checkOrigin(a.hs, a.gen.AllowedOrigins); reason != "" {
			return originError(reason)
		}
	}
	return nil
}

var errCopilotMode = frames.Invalid("browser copilot requires ui mode with run-tool-bindings and session-scoped-events capabilities")

// admitCopilot keeps the copilot's name to what can be a copilot.
func (a *attempt) admitCopilot() *frames.Error {
	if !a.kind.copilot {
		return nil
	}
	if a.p.Client.Mode != modeUI || !hasCap(a.p.Caps, "run-tool-bindings") || !hasCap(a.p.Caps, "session-scoped-events") {
		return errCopilotMode
	}
	if _, ok := extensionOrigin(a.hs.Origin); !ok {
		return frames.Invalid("browser copilot requires a canonical Chrome extension origin").
			WithDetails(originDetails{Code: "CONTROL_UI_ORIGIN_NOT_ALLOWED", Reason: "invalid browser copilot origin"})
	}
	return nil
}

func hasCap(caps []string, name string) bool {
	for _, c := range caps {
		if c == name {
			return true
		}
	}
	return false
}

// detailsCode is details of which only the code is known.
type detailsCode struct {
	Code string `json:"code"`
}

var (
	errDeviceRequired = &frames.Error{Code: frames.CodeNotPaired, Message: "device identity required",
		Details: detailsCode{"DEVICE_IDENTITY_REQUIRED"}}
	errUIDeviceRequired = &frames.Error{Code: frames.CodeInvalidRequest,
		Message: "control ui requires device identity (use HTTPS or localhost secure context)",
		Details: detailsCode{"CONTROL_UI_DEVICE_IDENTITY_REQUIRED"}}
)

// deviceMissing applies the table "no device block" of wire.md 3.4. A client without a
// key cannot be told from another one later, so it keeps the scopes that it claims for
// itself only where the server itself saw that it is a local tool (CVE-2026-22172).
func (a *attempt) deviceMissing() *frames.Error {
	if a.p.Device != nil {
		return nil
	}
	skip := a.localBackend()
	if !skip && !a.localCLI() && (a.creds.method == ModeToken || a.creds.method == ModePassword) {
		a.scopes = nil
	}
	switch {
	case skip && a.role == frames.RoleOperator:
		return nil
	case a.kind.controlUI:
		return errUIDeviceRequired
	case a.role == frames.RoleOperator && a.creds.sharedOK:
		return nil
	case !a.creds.ok && a.creds.offered():
		return a.unauthorized()
	}
	return errDeviceRequired
}

// localBackend: gateway-client in mode backend on this machine, not from a browser,
// with the shared secret, its own device token, or in mode none. It needs no pairing.
func (a *attempt) localBackend() bool {
	if !a.kind.backend || !a.hs.Local || hasOrigin(a.hs) {
		return false
	}
	return a.creds.method == ModeNone || a.creds.method == methodDevice || a.creds.sharedOK
}

// localCLI: the CLI on this machine with the shared secret keeps the scopes it asks for.
func (a *attempt) localCLI() bool {
	return a.kind.cli && a.hs.Local && !hasOrigin(a.hs) && a.creds.sharedOK
}

// runtimeTokens: upstream hands tokens to the agents that it starts itself. Sluice
// starts none that connect, so no such token can be right.
func (a *attempt) runtimeTokens() *frames.Error {
	if a.p.Auth == nil || a.p.Auth.AgentRuntimeIdentityToken == "" {
		return nil
	}
	if !a.hs.Local || !a.kind.backend {
		return frames.Invalid("agent runtime identity token is only accepted from local backend gateway clients")
	}
	return frames.Invalid("invalid agent runtime identity token")
}

// peer is the identity that the connection gets.
func (a *attempt) peer(paired bool) *frames.Peer {
	p := &frames.Peer{
		ConnID: a.e.Client.ID(), Role: a.role, Protocol: a.protocol, Client: a.p.ClientInfo(),
		AuthMethod: a.creds.method, Local: a.hs.Local, RemoteIP: a.hs.RemoteIP, Caps: a.p.Caps,
		AuthGeneration: a.creds.generation,
	}
	if a.role == frames.RoleOperator {
		p.Scopes = frames.ParseScopes(a.scopes)
	}
	if p.Client.UserAgent == "" {
		p.Client.UserAgent = a.hs.UserAgent
	}
	p.DeviceID = a.device.DeviceID
	switch {
	case paired:
		p.Identity = "device:" + p.DeviceID
	case a.creds.method == ModeNone:
		p.Identity = "open"
	default:
		p.Identity = "shared"
	}
	return p
}
