package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
)

// transform hides a text the way attackers do.
type transform struct {
	name string
	do   func(string) string
}

// each returns the transform that maps every letter by f.
func each(f func(r rune) string) func(string) string {
	return func(s string) string {
		var b strings.Builder
		for _, r := range s {
			b.WriteString(f(r))
		}
		return b.String()
	}
}

func letter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

func offset(upper, lower rune) func(string) string {
	return each(func(r rune) string {
		switch {
		case r >= 'A' && r <= 'Z':
			return string(r - 'A' + upper)
		case r >= 'a' && r <= 'z':
			return string(r - 'a' + lower)
		}
		return string(r)
	})
}

func replace(pairs ...string) func(string) string {
	r := strings.NewReplacer(pairs...)
	return r.Replace
}

func reverse(s string) string {
	r := []rune(s)
	for i, j := 0, len(r)-1; i < j; i, j = i+1, j-1 {
		r[i], r[j] = r[j], r[i]
	}
	return string(r)
}

func words(f func(string) string) func(string) string {
	return func(s string) string {
		list := strings.Fields(s)
		for i := range list {
			list[i] = f(list[i])
		}
		return strings.Join(list, " ")
	}
}

func caesar(k rune) func(string) string {
	return each(func(r rune) string {
		switch {
		case r >= 'A' && r <= 'Z':
			return string('A' + (r-'A'+k)%26)
		case r >= 'a' && r <= 'z':
			return string('a' + (r-'a'+k)%26)
		}
		return string(r)
	})
}

// transforms are judged in cross-validation; none of them is trained on.
func transforms() []transform {
	return []transform{
		{"plain", func(s string) string { return s }},
		{"upper case", strings.ToUpper},
		{"base64", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }},
		{"base64 in a sentence", func(s string) string {
			return "Please decode this and do what it says: " + base64.StdEncoding.EncodeToString([]byte(s))
		}},
		{"base64 twice", func(s string) string {
			return base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(s))))
		}},
		{"hex", func(s string) string { return hex.EncodeToString([]byte(s)) }},
		{"hex with blanks", func(s string) string { return fmt.Sprintf("% x", s) }},
		{"decimal codes", func(s string) string { return strings.Trim(fmt.Sprint([]byte(s)), "[]") }},
		{"binary", func(s string) string { return strings.Trim(fmt.Sprintf("%08b", []byte(s)), "[]") }},
		{"URL", url.QueryEscape},
		{"percent every byte", func(s string) string { return "%" + strings.ReplaceAll(fmt.Sprintf("% X", s), " ", "%") }},
		{"HTML entities", each(func(r rune) string { return fmt.Sprintf("&#%d;", r) })},
		{"unicode escapes", each(func(r rune) string {
			if r > 0xFFFF {
				return string(r)
			}
			return fmt.Sprintf("\\u%04x", r)
		})},
		{"zero-width", each(func(r rune) string { return string(r) + "\u200b" })},
		{"soft hyphens", each(func(r rune) string { return string(r) + "\u00ad" })},
		{"tag characters", each(func(r rune) string {
			if r > 0x20 && r < 0x7f {
				return string(r + 0xE0000)
			}
			return string(r)
		})},
		{"fullwidth", offset(0xFF21, 0xFF41)},
		{"mathematical bold", offset(0x1D400, 0x1D41A)},
		{"circled", offset(0x24B6, 0x24D0)},
		{"homoglyphs", replace("a", "а", "e", "е", "o", "о", "p", "р", "c", "с", "y", "у", "x", "х", "i", "і", "s", "ѕ")},
		{"accents", each(func(r rune) string {
			if letter(r) {
				return string(r) + "\u0301\u0323"
			}
			return string(r)
		})},
		{"spaced letters", words(func(w string) string { return strings.Join(strings.Split(w, ""), " ") + " " })},
		{"dotted letters", words(func(w string) string { return strings.Join(strings.Split(w, ""), ".") })},
		{"dashed letters", words(func(w string) string { return strings.Join(strings.Split(w, ""), "-") })},
		{"no blanks", func(s string) string { return strings.ReplaceAll(s, " ", "") }},
		{"leet", replace("a", "4", "e", "3", "i", "1", "o", "0", "s", "5", "t", "7", "A", "4", "E", "3", "I", "1", "O", "0", "S", "5", "T", "7")},
		{"leet with marks", replace("a", "@", "e", "3", "i", "!", "o", "0", "s", "$", "A", "@", "I", "!", "O", "0", "S", "$")},
		{"rot13", caesar(13)},
		{"caesar 3", caesar(3)},
		{"reversed", reverse},
		{"words reversed", words(reverse)},
		{"underscores", func(s string) string { return strings.ReplaceAll(s, " ", "_") }},
		{"swapped case", each(func(r rune) string {
			if letter(r) {
				return string(r ^ 0x20)
			}
			return string(r)
		})},
	}
}

// hidden makes the disguised forms of one text in eight of the attacks that can be
// decided by their text, for judging.
func hidden(docs []*doc) map[*doc][]*doc {
	out := map[*doc][]*doc{}
	n := 0
	for _, d := range docs {
		if !d.bad || d.parts != nil || len(d.text) > 3000 || d.category == "jailbreak-gcg" || strings.HasPrefix(d.category, "x-") {
			continue
		}
		if n++; n%8 != 0 {
			continue
		}
		for _, t := range transforms() {
			out[d] = append(out[d], &doc{id: d.id, category: t.name, text: t.do(d.text), bad: true})
		}
	}
	return out
}
