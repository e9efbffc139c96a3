package main

import (
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// foldBytes makes normalize/fold.bin; the layout is described in normalize/fold.go.
func foldBytes() []byte {
	const limit, page = 0x20000, 64
	index := make([]byte, limit/page)
	var pages, multi []byte
	seen := map[string]int{}
	strings := map[string]int{}
	for p := 1; p < limit/page; p++ {
		buf := make([]byte, 0, 2*page)
		used := false
		for r := rune(p * page); r < rune(p+1)*page; r++ {
			code := foldCode(r, func(s string) uint16 {
				n, ok := strings[s]
				if !ok {
					n = len(strings)
					strings[s] = n
					multi = append(multi, (s + "\x00\x00\x00\x00")[:4]...)
				}
				return uint16(0xE000 + n)
			})
			used = used || code != 0
			buf = append(buf, byte(code), byte(code>>8))
		}
		if !used {
			continue
		}
		n, ok := seen[string(buf)]
		if !ok {
			n = len(seen) + 1
			seen[string(buf)] = n
			pages = append(pages, buf...)
		}
		if n > 255 {
			panic("fold: more than 255 pages")
		}
		index[p] = byte(n)
	}
	out := append(append(index, pages...), multi...)
	out = append(out, byte(len(seen)), byte(len(seen)>>8))
	for r := rune(0x370); r < 0x590; r++ {
		out = append(out, looks[r])
	}
	return out
}

// foldCode is the code of one rune.
func foldCode(r rune, multi func(string) uint16) uint16 {
	if s, ok := extra[r]; ok {
		if len(s) == 1 {
			return uint16(s[0])
		}
		return multi(s)
	}
	switch {
	case invisible(r):
		return 1
	case unicode.Is(unicode.Zs, r) || r == 0x2028 || r == 0x2029 || r == 0x2800 || r == 0x3164 || r == 0x85:
		return 2
	case r >= 0xAC00 && r < 0xD7B0, r >= 0xF900 && r < 0xFB00, r >= 0x3040 && r < 0x3100, r >= 0x0900 && r < 0x1100,
		r >= 0x3130 && r < 0x3190, r >= 0x3200 && r < 0x3400:
		return 0 // these scripts keep their marks: they spell
	case r >= 0xFF65 && r < 0xFFA0:
		return uint16([]rune(norm.NFKC.String(string(r)))[0])
	case r >= 0x1F1E6 && r <= 0x1F1FF:
		return uint16('a' + r - 0x1F1E6)
	case r >= 0x1F150 && r < 0x1F16A:
		return uint16('A' + r - 0x1F150)
	case r >= 0x1F170 && r < 0x1F18A:
		return uint16('A' + r - 0x1F170)
	}
	var out []rune
	for _, d := range norm.NFKD.String(string(r)) {
		if mark(d) {
			continue
		}
		if d >= 0x80 {
			d = unicode.ToLower(d)
			if s, ok := extra[d]; ok {
				out = append(out, []rune(s)...)
				continue
			}
		}
		out = append(out, d)
	}
	switch {
	case len(out) == 0:
		return 1
	case len(out) == 1 && out[0] == r:
		return 0
	case len(out) == 1 && out[0] < 0xE000 && out[0] > 2:
		return uint16(out[0])
	}
	s := ""
	for _, d := range out {
		if d >= 0x80 || len(s) == 4 {
			return 0
		}
		s += string(d)
	}
	return multi(s)
}

// mark reports accents and vowel points that are not part of the spelling.
func mark(r rune) bool {
	switch {
	case r >= 0x300 && r < 0x370, r >= 0x483 && r < 0x48A, r >= 0x591 && r < 0x5C8 && unicode.Is(unicode.Mn, r),
		r >= 0x610 && r < 0x61B, r >= 0x64B && r < 0x660, r == 0x670, r >= 0x6D6 && r < 0x6EE && unicode.Is(unicode.Mn, r),
		r >= 0x1AB0 && r < 0x1B00, r >= 0x1DC0 && r < 0x1E00, r >= 0x20D0 && r < 0x2100, r >= 0xFE20 && r < 0xFE30, r == 0x640:
		return true
	}
	return false
}

func invisible(r rune) bool {
	switch {
	case mark(r), r >= 0x200B && r < 0x2010, r >= 0x202A && r < 0x202F, r >= 0x2060 && r < 0x2070, r >= 0xFE00 && r < 0xFE10,
		r == 0xAD, r == 0x34F, r == 0x61C, r == 0x115F, r == 0x1160, r == 0x17B4, r == 0x17B5, r == 0x180E, r >= 0x180B && r < 0x180E,
		r == 0xFEFF, r >= 0xFFF9 && r < 0xFFFC, r >= 0x80 && r < 0xA0 && r != 0x85:
		return true
	}
	return false
}

// extra are letters that NFKD leaves alone but that are read as Latin ones.
var extra = pairs(
	"ß ss", "ø o", "æ ae", "œ oe", "ł l", "đ d", "ð d", "þ th", "ħ h", "ı i", "ŋ n", "ŧ t", "ĸ k", "ſ s", "ƀ b", "ɓ b", "ƃ b",
	"Ø o", "Æ ae", "Œ oe", "Ł l", "Đ d", "Ð d", "Þ th", "Ħ h", "Ŋ n", "Ŧ t", "ẞ ss",
	"ɐ a", "ɔ o", "ǝ e", "ə e", "ɛ e", "ɟ f", "ɡ g", "ɢ g", "ɥ h", "ʜ h", "ɪ i", "ɨ i", "ɩ i", "ᴉ i", "ɾ r", "ʞ k", "ʟ l", "ɯ m", "ɴ n", "ɹ r", "ʀ r", "ʇ t",
	"ʌ v", "ʍ w", "ʎ y", "ʏ y", "ᴀ a", "ʙ b", "ᴄ c", "ᴅ d", "ᴇ e", "ꜰ f", "ᴊ j", "ᴋ k", "ᴍ m", "ᴏ o", "ᴘ p", "ꞯ q", "ꜱ s", "ᴛ t", "ᴜ u", "ᴠ v", "ᴡ w", "ᴢ z",
	"ɑ a", "ʋ u", "ɩ i", "ǃ !", "ⅼ l", "ⲟ o", "ꓲ i", "Ꭰ d", "Ꭱ r", "Ꭲ t", "Ꭺ a", "Ꭻ j", "Ꭼ e", "Ꮃ w", "Ꮇ m", "Ꮋ h", "Ꮐ g", "Ꮪ s", "Ꮯ c", "Ꮲ p", "Ꮶ k", "Ꮮ l", "Ᏼ b", "Ꮩ v", "Ꮓ z",
	"’ '", "‘ '", "“ \"", "” \"", "„ \"", "« \"", "» \"", "– -", "— -", "‐ -", "‑ -", "− -", "… .", "、 ,", "。 .", "「 \"", "」 \"", "『 \"", "』 \"", "، ,", "؟ ?", "؛ ;", "। .", "‹ '", "› '",
	"・ -", "· -", "• -", "【 [", "】 ]", "《 \"", "》 \"", "ي ي", "ى ي", "أ ا", "إ ا", "آ ا", "ة ه", "ک ك", "ی ي",
)

// looks are Greek and Cyrillic letters, in lower case, that are drawn like Latin ones; a
// capital marks those that are so only beside Latin letters.
var looks = func() map[rune]byte {
	m := map[rune]byte{}
	for r, s := range pairs("а a", "в B", "с c", "ԁ d", "е e", "ғ f", "ԍ g", "н H", "һ h", "і i", "ј j", "к k", "ӏ l", "м m", "п N", "о o", "р p", "ԛ q", "г R", "ѕ s",
		"т t", "ц U", "ѵ v", "ԝ w", "х x", "у y", "з Z", "ь B", "ѡ w", "ү Y", "ɡ g", "α a", "β b", "ϲ c", "δ D", "ε e", "η N", "ι i", "κ k", "ν V", "ο o", "ρ p", "σ O",
		"τ t", "υ U", "ω W", "χ x", "γ Y", "ϳ j", "ս u", "օ o", "ո n", "հ h", "ց g", "զ q", "ք p", "տ s", "ա w", "є E", "я R", "и N", "ш W", "ч Y", "б B", "л N", "ϱ p") {
		m[r] = s[0]
	}
	return m
}()

func pairs(list ...string) map[rune]string {
	m := map[rune]string{}
	for _, p := range list {
		r := []rune(p)
		m[r[0]] = string(r[2:])
	}
	return m
}
