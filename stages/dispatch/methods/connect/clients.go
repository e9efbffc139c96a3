package connect

import (
	"strings"

	"sluice/frames"
)

// Client ids and modes that the handshake treats specially (wire.md 3.3). They are the
// client's claims: each rule that loosens something also needs what the server saw
// itself (locality, no Origin header, a secret).
const (
	idControlUI     = "openclaw-control-ui"
	idCopilot       = "openclaw-browser-copilot"
	idTUI           = "openclaw-tui"
	idWebchatUI     = "webchat-ui"
	idCLI           = "cli"
	idGatewayClient = "gateway-client"
	idMacOS         = "openclaw-macos"
	idLinux         = "openclaw-linux"
	idIOS           = "openclaw-ios"
	idWatchOS       = "openclaw-watchos"
	idAndroid       = "openclaw-android"
	idNodeHost      = "node-host"

	modeWebchat = "webchat"
	modeCLI     = "cli"
	modeUI      = "ui"
	modeBackend = "backend"
	modeNode    = "node"
)

// kind is what the rules ask about a client.
type kind struct {
	operatorUI bool // Control UI, TUI or copilot: worded as UI in errors
	controlUI  bool // operatorUI except the copilot
	copilot    bool
	webchat    bool
	nativeApp  bool
	cliMode    bool // mode cli, whatever the id
	cli        bool // id cli in mode cli
	backend    bool // gateway-client in mode backend
}

func kindOf(c *frames.ConnectClient) kind {
	k := kind{
		operatorUI: c.ID == idControlUI || c.ID == idTUI || c.ID == idCopilot,
		copilot:    c.ID == idCopilot,
		webchat:    c.Mode == modeWebchat || c.ID == idWebchatUI,
		cliMode:    c.Mode == modeCLI,
		cli:        c.ID == idCLI && c.Mode == modeCLI,
		backend:    c.ID == idGatewayClient && c.Mode == modeBackend,
	}
	k.controlUI = k.operatorUI && !k.copilot
	switch c.ID {
	case idMacOS, idLinux, idIOS, idAndroid:
		k.nativeApp = c.Mode == modeUI
	}
	return k
}

// needsOrigin: clients that run in a browser must send an Origin; a copilot with its
// extension's origin is bound to that by its pairing instead.
func needsOrigin(h *frames.Handshake, c *frames.ConnectClient, k kind) bool {
	if k.copilot {
		if _, ok := extensionOrigin(h.Origin); ok {
			return false
		}
	}
	return hasOrigin(h) || c.ID == idControlUI || k.copilot || k.webchat
}

func hasOrigin(h *frames.Handshake) bool {
	for i := 0; i < len(h.Origin); i++ {
		if c := h.Origin[i]; c != ' ' && c != '\t' {
			return true
		}
	}
	return false
}

// nodeHostMetadata gives old node hosts, which name their JavaScript platform, the name
// and device family that their successors send, so that an update is not a new machine.
func nodeHostMetadata(c *frames.ConnectClient) {
	if c.ID != idNodeHost || c.Mode != modeNode {
		return
	}
	var platform, family string
	switch c.Platform {
	case "darwin", "macos":
		platform, family = "macos", "Mac"
	case "linux":
		platform, family = "linux", "Linux"
	case "win32", "windows":
		platform, family = "windows", "Windows"
	default:
		return
	}
	given := strings.TrimSpace(c.DeviceFamily)
	if given != "" && !strings.EqualFold(given, family) {
		return
	}
	c.Platform = platform
	if given == "" {
		c.DeviceFamily = family
	}
}
