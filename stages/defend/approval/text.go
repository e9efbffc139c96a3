package approval

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What a reviewer is shown must be what would run, or the request is refused
// (CVE-2026-53829: a command that was cut in its approval). So text is made visible, never
// shortened: characters that cannot be seen, or that move others about, become \u{…}.
// Only a secret is shown as something else, because approvals reach every operator.

// Bounds of shown text, as the real gateway's: UTF-16 units in and out.
const (
	maxShownInput = 262_144
	maxShown      = 16_384
)

// shown is text as reviewers see it.
type shown struct {
	text string
	// whole is false when the text could not be shown in full.
	whole bool
}

const (
	notShown    = "[exec approval command exceeds display size limit; full text suppressed]"
	notShownFor = "[text with a secret behind invisible characters; suppressed]"
)

// show makes one line of text visible: a command, a path, a name.
func (b *Broker) show(text string) shown { return b.showText(text, false) }

// showProse keeps line breaks: a warning, a description.
func (b *Broker) showProse(text string) shown {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u2028", "\n", "\u2029", "\n").Replace(text)
	return b.showText(text, true)
}

func (b *Broker) showText(text string, breaks bool) shown {
	if len(text) > maxShownInput {
		return shown{notShown, false}
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	hidden := strings.ContainsFunc(text, invisible)
	clean := text
	if b.deps.Redact != nil {
		clean = b.deps.Redact(text)
		if hidden && clean == text {
			if bare := strip(text); b.deps.Redact(bare) != bare {
				return shown{notShownFor, false} // the characters hid the secret from the redactor
			}
		}
	}
	if hidden {
		clean = escapeInvisible(clean, breaks)
	}
	if units(clean) > maxShown {
		return shown{cutUnits(clean, maxShown) + "…[truncated]", false}
	}
	return shown{clean, true}
}

// invisible are the characters that a person does not see as what they are.
func invisible(r rune) bool {
	switch {
	case r >= 0x20 && r < 0x7F:
		return false
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp):
		return true
	case r == 0x00A0, r == 0x1680, r >= 0x2000 && r <= 0x200A, r == 0x202F, r == 0x205F, r == 0x3000,
		r == 0x115F, r == 0x1160, r == 0x3164, r == 0xFFA0:
		return true
	}
	return false
}

func escapeInvisible(text string, breaks bool) string {
	var out strings.Builder
	out.Grow(len(text) + 32)
	for _, r := range text {
		if invisible(r) && !(breaks && r == '\n') {
			fmt.Fprintf(&out, `\u{%X}`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

func strip(text string) string {
	return strings.Map(func(r rune) rune {
		if invisible(r) {
			return -1
		}
		return r
	}, text)
}

// units counts UTF-16 code units, in which clients measure.
func units(text string) int {
	n := 0
	for _, r := range text {
		n++
		if r > 0xFFFF {
			n++
		}
	}
	return n
}

// cutUnits cuts text to at most n UTF-16 units, between characters.
func cutUnits(text string, n int) string {
	for i, r := range text {
		n--
		if r > 0xFFFF {
			n--
		}
		if n < 0 {
			return text[:i]
		}
	}
	return text
}

// cutRunes cuts text to at most n characters and reports whether it did.
func cutRunes(text string, n int) (string, bool) {
	if utf8.RuneCountInString(text) <= n {
		return text, false
	}
	for i := range text {
		if n--; n < 0 {
			return text[:i], true
		}
	}
	return text, false
}

// optional is nil for blank text, as the wire's null.
func optional(text string) *string {
	if text = strings.TrimSpace(text); text == "" {
		return nil
	}
	return &text
}

// line is optional text made visible.
func (b *Broker) line(text string) *string {
	p := optional(text)
	if p == nil {
		return nil
	}
	s := b.show(*p).text
	return &s
}
