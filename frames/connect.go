package frames

import "github.com/go-json-experiment/json/jsontext"

// ConnectParams are the params of connect (schema96.json ConnectParams). All of it is
// what the client claims.
type ConnectParams struct {
	MinProtocol int             `json:"minProtocol"`
	MaxProtocol int             `json:"maxProtocol"`
	Client      ConnectClient   `json:"client"`
	Caps        []string        `json:"caps,omitempty"`
	Commands    []string        `json:"commands,omitempty"`
	ComputerUse jsontext.Value  `json:"computerUse,omitempty"`
	WorkerRuns  *WorkerRuns     `json:"workerRuns,omitempty"`
	Permissions map[string]bool `json:"permissions,omitempty"`
	PathEnv     string          `json:"pathEnv,omitempty"`
	// Role is "operator" when the client sent none; any other string is kept, so that
	// the handshake can refuse it at its place in the check order.
	Role string `json:"role,omitempty"`
	// Scopes is what the client asks for. Missing means none: there is no default grant.
	Scopes       []string       `json:"scopes,omitempty"`
	ModelCatalog *ModelCatalog  `json:"modelCatalog,omitempty"`
	Device       *ConnectDevice `json:"device,omitempty"`
	Auth         *ConnectAuth   `json:"auth,omitempty"`
	Locale       string         `json:"locale,omitempty"`
	UserAgent    string         `json:"userAgent,omitempty"`
}

// ConnectClient is connect's client.
type ConnectClient struct {
	ID              string `json:"id"`
	DisplayName     string `json:"displayName,omitempty"`
	Version         string `json:"version"`
	BuildID         string `json:"buildId,omitempty"`
	Platform        string `json:"platform"`
	DeviceFamily    string `json:"deviceFamily,omitempty"`
	ModelIdentifier string `json:"modelIdentifier,omitempty"`
	TimeZone        string `json:"timeZone,omitempty"`
	Mode            string `json:"mode"`
	InstanceID      string `json:"instanceId,omitempty"`
}

// ConnectDevice is connect's device proof (wire.md 3.4). SignedAt is in ms.
type ConnectDevice struct {
	ID        string `json:"id"`
	PublicKey string `json:"publicKey"`
	Signature string `json:"signature"`
	SignedAt  int64  `json:"signedAt"`
	Nonce     string `json:"nonce"`
}

// ConnectAuth is connect's auth. Its strings are secrets: never log them.
type ConnectAuth struct {
	Token                     string `json:"token,omitempty"`
	BootstrapToken            string `json:"bootstrapToken,omitempty"`
	DeviceToken               string `json:"deviceToken,omitempty"`
	Password                  string `json:"password,omitempty"`
	ApprovalRuntimeToken      string `json:"approvalRuntimeToken,omitempty"`
	AgentRuntimeIdentityToken string `json:"agentRuntimeIdentityToken,omitempty"`
}

// WorkerRuns is connect's workerRuns.
type WorkerRuns struct {
	BundleHash       string   `json:"bundleHash"`
	OpenclawVersion  string   `json:"openclawVersion"`
	ProtocolFeatures []string `json:"protocolFeatures"`
	BundlePrewarm    int64    `json:"bundlePrewarm,omitempty"`
}

// ModelCatalog is connect's modelCatalog: which session's catalog the client wants.
type ModelCatalog struct {
	AgentID    string `json:"agentId,omitempty"`
	SessionKey string `json:"sessionKey,omitempty"`
	ShortID    string `json:"shortId,omitempty"`
	SlugHint   string `json:"slugHint,omitempty"`
}

// DefaultRole is the role of a client that names none.
const DefaultRole = "operator"

// connectSchema checks connect's params.
var connectSchema = schemaNamed("ConnectParams")

// ParseConnect checks and decodes the raw params of connect. The error is
// INVALID_REQUEST "invalid connect params: …"; the handshake closes 1008 with it.
// Unlike other methods' params, connect's are not {} when they are missing.
func ParseConnect(params []byte) (*ConnectParams, *Error) {
	if len(params) == 0 {
		return nil, Invalid("invalid connect params: must be object")
	}
	if err := connectSchema.Validate("connect", params); err != nil {
		return nil, err
	}
	p := &ConnectParams{Role: DefaultRole}
	if err := UnmarshalParams(params, p); err != nil {
		return nil, Invalid("invalid connect %s", err.Message[len("invalid "):])
	}
	return p, nil
}

// ClientInfo returns what the client says about itself as Peer keeps it.
func (p *ConnectParams) ClientInfo() ClientInfo {
	c := &p.Client
	return ClientInfo{
		ID: c.ID, Version: c.Version, Platform: c.Platform, Mode: c.Mode,
		DisplayName: c.DisplayName, DeviceFamily: c.DeviceFamily,
		ModelIdentifier: c.ModelIdentifier, InstanceID: c.InstanceID, TimeZone: c.TimeZone,
		UserAgent: p.UserAgent, Locale: p.Locale,
	}
}

// NegotiateProtocol returns the version to speak with a client that offers min to max.
// Upstream takes 3 from nodes and probes only and answers 4 even then; Sluice takes it
// from every client (the clients of February 2026 offer only 3) and answers min(4, max),
// which those check (wire.md 3.3 and 9). role and mode are the client's claims: they
// decide nothing today, and are here because upstream's rule needs them.
//
// The error is upstream's "protocol mismatch", closing 1002.
func NegotiateProtocol(min, max int, role, mode string) (version int, err *Error) {
	version = ProtocolVersion
	if max < version {
		version = max
	}
	if version >= MinProtocolVersion && min <= version {
		return version, nil
	}
	mismatch := &Error{
		Code:    CodeInvalidRequest,
		Message: "protocol mismatch",
		Details: ProtocolMismatch{
			Code: "PROTOCOL_MISMATCH", ClientMinProtocol: min, ClientMaxProtocol: max,
			ExpectedProtocol: ProtocolVersion, MinimumProbeProtocol: MinProtocolVersion,
		},
	}
	return 0, mismatch.Closing(CloseProtocolError)
}

// ProtocolMismatch are the details of the error of NegotiateProtocol.
type ProtocolMismatch struct {
	Code                 string `json:"code"`
	ClientMinProtocol    int    `json:"clientMinProtocol"`
	ClientMaxProtocol    int    `json:"clientMaxProtocol"`
	ExpectedProtocol     int    `json:"expectedProtocol"`
	MinimumProbeProtocol int    `json:"minimumProbeProtocol"`
}
