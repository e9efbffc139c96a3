package adapter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sluice/pipeline"
)

// A Channel sends messages to one messaging service. Send delivers d once, waits for the
// service's confirmation and returns it; it must respect ctx, must not retry, and must
// not change or keep d. d.Text is within Capabilities().TextLimit. It may be called from
// many goroutines, but never for one recipient at the same time.
//
// An error says by its kind (Permanent, Temporary, Unknown) whether the message may have
// been delivered after all; an error of another type counts as Unknown.
type Channel interface {
	Name() string
	Capabilities() Capabilities
	Send(ctx context.Context, d *pipeline.Delivery) (pipeline.Receipt, error)
}

// Idempotent is a Channel whose receiver recognises a delivery that comes twice by its
// Key: a delivery of unknown outcome may then be repeated.
type Idempotent interface {
	Idempotent(d *pipeline.Delivery) bool
}

// Mode says how a text beyond the limit is cut.
type Mode string

// The modes. ModeLength fills chunks up to the limit; ModeNewline makes a chunk of each
// paragraph first.
const (
	ModeLength  Mode = "length"
	ModeNewline Mode = "newline"
)

// Capabilities describes a channel. The flags and limits are the first runtime's
// (first-runtime.md 7.2 and 7.3).
type Capabilities struct {
	Name             string `json:"name"`
	Edit             bool   `json:"edit"`
	Delete           bool   `json:"delete"`
	Reactions        bool   `json:"reactions"`
	Threads          bool   `json:"threads"`
	Polls            bool   `json:"polls"`
	Media            bool   `json:"media"`
	DefaultDMPairing bool   `json:"defaultDmPairing"`
	// TextLimit is the most characters (Unicode code points) of one message; 0 = none.
	TextLimit int  `json:"textLimit"`
	ChunkMode Mode `json:"chunkMode"`
}

const (
	textLimit        = 4000
	textLimitDiscord = 2000
)

// Catalog returns the descriptors of the first runtime's channels, in its order; the
// last is generic, which stands for every other one. That a channel is described does
// not mean that this build can send through it: Stage.Channels says that.
func Catalog() []Capabilities {
	list := make([]Capabilities, 0, len(catalog))
	for _, c := range catalog {
		list = append(list, describe(c.name, c.flags))
	}
	return list
}

// Describe returns the descriptor of a channel, generic's flags if it is not listed.
func Describe(name string) Capabilities {
	name = NormalizeChannel(name)
	for _, c := range catalog {
		if c.name == name {
			return describe(name, c.flags)
		}
	}
	return describe(name, "M")
}

// catalog holds the flags as letters: Edit, Delete, Reactions, Threads, Polls, Media.
var catalog = [...]struct{ name, flags string }{
	{"telegram", "EDRPM"}, {"whatsapp", "RPM"}, {"discord", "EDRTPM"}, {"irc", "M"},
	{"googlechat", "RTM"}, {"slack", "EDRTM"}, {"signal", "RM"}, {"imessage", "M"},
	{"webchat", "EDM"}, {"bluebubbles", "EDRM"}, {"msteams", "TPM"}, {"matrix", "RTPM"},
	{"zalouser", "RM"}, {"zalo", "M"}, {"feishu", "ERTM"}, {"mattermost", "RTM"},
	{"line", "M"}, {"nextcloud-talk", "RM"}, {"nostr", ""}, {"tlon", "T"}, {"generic", "M"},
}

func describe(name, flags string) Capabilities {
	has := func(letter string) bool { return strings.Contains(flags, letter) }
	c := Capabilities{Name: name, Edit: has("E"), Delete: has("D"), Reactions: has("R"), Threads: has("T"),
		Polls: has("P"), Media: has("M"), DefaultDMPairing: name != "webchat", TextLimit: textLimit, ChunkMode: ModeLength}
	switch name {
	case "discord":
		c.TextLimit = textLimitDiscord
	case "webchat":
		c.ChunkMode = ModeNewline
	}
	return c
}

// NormalizeChannel returns a channel's one name for any of its names; a name that it
// does not know is only trimmed and lower-cased. Blank gives "".
func NormalizeChannel(name string) string {
	name = strings.ToLower(strings.TrimSpace(name))
	switch name {
	case "tg", "grammy":
		return "telegram"
	case "wa", "baileys":
		return "whatsapp"
	case "bb":
		return "bluebubbles"
	case "internet-relay-chat":
		return "irc"
	case "imsg":
		return "imessage"
	case "lark":
		return "feishu"
	case "google-chat", "gchat":
		return "googlechat"
	case "teams", "ms-teams":
		return "msteams"
	case "signal-cli":
		return "signal"
	case "nc", "nc-talk", "nc_talk", "nextcloudtalk":
		return "nextcloud-talk"
	case "urbit":
		return "tlon"
	case "zl":
		return "zalo"
	case "zlu", "zalo-personal", "zalo_personal":
		return "zalouser"
	case "web-chat", "web_chat", "webchat-ui":
		return "webchat"
	}
	return name
}

// Kind says what an error of Send leaves behind.
type Kind uint8

// The kinds.
const (
	// KindUnknown: the message may have been delivered.
	KindUnknown Kind = iota
	// KindTemporary: it was not delivered; later it may be.
	KindTemporary
	// KindPermanent: it was not delivered and will not be.
	KindPermanent
)

// SendError is an error of Channel.Send. Its text is shown to the client: it says what
// happened without secrets.
type SendError struct {
	Kind Kind
	// RetryAfter is what the service asked for; 0 = nothing.
	RetryAfter time.Duration
	Err        error
}

// Error implements error.
func (e *SendError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *SendError) Unwrap() error { return e.Err }

// Permanent returns an error after which sending again is useless.
func Permanent(format string, args ...any) error {
	return &SendError{Kind: KindPermanent, Err: fmt.Errorf(format, args...)}
}

// Temporary returns an error after which the message was surely not delivered.
func Temporary(retryAfter time.Duration, format string, args ...any) error {
	return &SendError{Kind: KindTemporary, RetryAfter: retryAfter, Err: fmt.Errorf(format, args...)}
}

// Unknown returns an error after which the message may have been delivered.
func Unknown(format string, args ...any) error {
	return &SendError{Kind: KindUnknown, Err: fmt.Errorf(format, args...)}
}

// kindOf classifies an error of Send.
func kindOf(err error) (Kind, time.Duration) {
	var e *SendError
	if errors.As(err, &e) {
		return e.Kind, e.RetryAfter
	}
	return KindUnknown, 0
}
