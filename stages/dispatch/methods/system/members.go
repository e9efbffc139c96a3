package system

import (
	"bytes"
	"slices"

	"sluice/frames"

	"github.com/go-json-experiment/json/jsontext"
)

// checkMembers is the closed-object check of methods whose params have no published
// schema, in the validator's words.
func checkMembers(method string, params []byte, required string, known []string) *frames.Error {
	seen := false
	unexpected := ""
	dec := jsontext.NewDecoder(bytes.NewBuffer(params), jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	if tok, err := dec.ReadToken(); err == nil && tok.Kind() == '{' {
		for dec.PeekKind() == '"' {
			tok, err := dec.ReadToken()
			if err != nil {
				break
			}
			name := tok.String()
			seen = seen || name == required
			if unexpected == "" && !slices.Contains(known, name) {
				unexpected = name
			}
			if dec.SkipValue() != nil {
				break
			}
		}
	}
	switch {
	case !seen && unexpected != "":
		return frames.Invalid("invalid %s params: must have required property '%s'; at root: unexpected property '%s'", method, required, unexpected)
	case !seen:
		return frames.Invalid("invalid %s params: must have required property '%s'", method, required)
	case unexpected != "":
		return frames.Invalid("invalid %s params: at root: unexpected property '%s'", method, unexpected)
	}
	return nil
}
