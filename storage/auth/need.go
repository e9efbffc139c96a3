package auth

import (
	"regexp"
	"slices"
)

// Why a device that has proven its identity must be (re-)approved before it may connect.
const (
	NeedNothing  = ""
	NeedPairing  = "not-paired"
	NeedMetadata = "metadata-upgrade"
	NeedRole     = "role-upgrade"
	NeedScope    = "scope-upgrade"
)

// pairingTexts are the protocol's own words for each need (wire.md 3.4).
var pairingTexts = map[string]struct{ requirement, hint string }{
	NeedPairing:  {"device is not approved yet", "Approve this device from the pending pairing requests."},
	NeedRole:     {"device is asking for a higher role than currently approved", "Review the requested role upgrade, then approve the pending request."},
	NeedScope:    {"device is asking for more scopes than currently approved", "Review the requested scopes, then approve the pending upgrade."},
	NeedMetadata: {"device identity changed and must be re-approved", "Review the refreshed device details, then approve the pending request."},
}

// PairingMessage returns the message of the NOT_PAIRED error for a need.
func PairingMessage(need string) string {
	if t, ok := pairingTexts[need]; ok {
		return "pairing required: " + t.requirement
	}
	return "pairing required"
}

// RemediationHint returns details.remediationHint for a need.
func RemediationHint(need string) string {
	if t, ok := pairingTexts[need]; ok {
		return t.hint
	}
	return "Approve the pending device request before retrying."
}

// Access is what a device asks for with a connect.
type Access struct {
	PublicKey    string // of the Identity
	Role         string
	Scopes       []string
	ClientID     string
	ClientMode   string
	Platform     string
	DeviceFamily string
}

// Need returns the first thing that device d lacks for access, in the protocol's order;
// d is nil for one that is not paired. After a silent approval the device is read again
// and Need asked again, as the next need may be another.
func Need(d *PairedDevice, access Access) string {
	switch {
	case d == nil || d.PublicKey != access.PublicKey:
		return NeedPairing
	case metadataChanged(d, access):
		return NeedMetadata
	case !slices.Contains(d.EffectiveRoles(), access.Role):
		return NeedRole
	case MissingScope(access.Role, access.Scopes, d.Grant(access.Role)) != "":
		return NeedScope
	}
	return NeedNothing
}

// The native apps report their operating system's version as the platform; a new
// version is the same device.
var (
	applePlatform   = regexp.MustCompile(`^(?:ios|ipados)(?:\s|$)`)
	androidPlatform = regexp.MustCompile(`^android(?:\s|$)`)
	watchPlatform   = regexp.MustCompile(`^watchos \d+(?:\.\d+){0,2}$`)
	macPlatform     = regexp.MustCompile(`^macos \d+(?:\.\d+){0,2}$`)
)

func appFamily(clientID, platform string) string {
	switch {
	case clientID == "openclaw-ios" && applePlatform.MatchString(platform):
		return "ios"
	case clientID == "openclaw-android" && androidPlatform.MatchString(platform):
		return "android"
	case clientID == "openclaw-watchos" && watchPlatform.MatchString(platform):
		return "watchos"
	case clientID == "openclaw-macos" && macPlatform.MatchString(platform):
		return "macos"
	}
	return ""
}

// platformIdentity is what Node's names of platforms stand for.
func platformIdentity(platform string) (name, family string) {
	switch platform {
	case "darwin":
		return "macos", "mac"
	case "win32":
		return "windows", "windows"
	case "linux":
		return "linux", "linux"
	}
	return platform, ""
}

// metadataChanged reports whether platform or device family are not those that were
// approved, beyond the renamings that the protocol's own gateway lets pass. A device
// that was approved without them is not held to any.
func metadataChanged(d *PairedDevice, a Access) bool {
	claimed, pinned := NormalizeMetadata(a.Platform), NormalizeMetadata(d.Platform)
	claimedFamily, pinnedFamily := NormalizeMetadata(a.DeviceFamily), NormalizeMetadata(d.DeviceFamily)
	if pinnedFamily != "" && claimedFamily != pinnedFamily {
		return true
	}
	if pinned == "" || claimed == pinned {
		return false
	}
	isNodeHost := a.ClientID == "node-host" && a.ClientMode == "node"
	claimedName, _ := platformIdentity(claimed)
	pinnedName, pinnedNameFamily := platformIdentity(pinned)
	app := appFamily(a.ClientID, claimed)
	switch {
	case isNodeHost && claimed != "" && claimedName == pinnedName:
		return false
	case pinnedFamily == "" && pinnedName != pinned && claimed == pinnedName && claimedFamily == pinnedNameFamily:
		return false
	case isNodeHost && (claimed == "darwin" || claimed == "macos") && macPlatform.MatchString(pinned):
		return false
	case app != "" && app == appFamily(a.ClientID, pinned):
		return false
	case app == "macos" && (pinned == "darwin" || pinned == "macos"):
		return false
	}
	return true
}
