package windows

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
)

// plain folds case and undoes what only hides a word: carets, backticks, 'a'+'b', blanks.
// It ends in blanks, so that phrases may too.
func plain(text string) string {
	low := strings.ToLower(text)
	if strings.ContainsAny(low, "^`") {
		low = strings.NewReplacer("^", "", "`n", "\n", "`", "").Replace(low)
	}
	if strings.Contains(low, "+") {
		low = strings.NewReplacer("'+'", "", "\"+\"", "", "' + '", "", "\" + \"", "").Replace(low)
	}
	for strings.Contains(low, "  ") {
		low = strings.ReplaceAll(low, "  ", " ")
	}
	return strings.ReplaceAll(low, ".exe", "") + "  "
}

// encodings are what stands before a script in base64.
var encodings = [...]string{" -enc ", " -e ", " -ec ", " -en ", " -encodedcommand ", " -enco ", " -encod ", " -encode ", " -encoded ", " /e ", " /enc ", "frombase64string(\"", "frombase64string('"}

// encoded returns the script that -EncodedCommand or FromBase64String carries.
func encoded(low, text string) string {
	for _, mark := range encodings {
		if !strings.Contains(low, mark) {
			continue
		}
		i := strings.Index(strings.ToLower(text), mark)
		if i < 0 || i+len(mark) > len(text) {
			continue
		}
		rest := strings.TrimLeft(text[i+len(mark):], "\"' ")
		end := strings.IndexFunc(rest, func(r rune) bool { return !digit64(r) })
		if end < 0 {
			end = len(rest)
		}
		if end < 16 {
			continue
		}
		raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(rest[:end], "="))
		if err != nil && len(raw) < end/2 {
			continue
		}
		return wide(raw)
	}
	return ""
}

func digit64(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '+' || r == '/' || r == '='
}

// wide reads UTF-16 if every second byte says so.
func wide(raw []byte) string {
	zeros := 0
	for i := 1; i < len(raw); i += 2 {
		if raw[i] == 0 {
			zeros++
		}
	}
	if zeros*3 < len(raw) {
		return string(raw)
	}
	units := make([]uint16, 0, len(raw)/2)
	for i := 0; i+1 < len(raw); i += 2 {
		units = append(units, uint16(raw[i])|uint16(raw[i+1])<<8)
	}
	return string(utf16.Decode(units))
}
