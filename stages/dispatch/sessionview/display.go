package sessionview

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// How much of a message's text readers are shown, in UTF-16 code units as the real
// gateway counts (its chat display projection): a message may be as large as a frame,
// and what carries it to everybody must not be.
const (
	DisplayChars    = 8_000     // in histories and events
	DisplayMaxChars = 1_000_000 // of one message that was asked for by its id
)

const cutMark = "\n...(truncated)..."

// Cut returns text, or its beginning with a mark when it is longer than most UTF-16
// code units.
func Cut(text string, most int) (string, bool) {
	if len(text) <= most {
		return text, false
	}
	units := 0
	for i, r := range text {
		if units++; r > 0xffff {
			units++
		}
		if units > most {
			return text[:i] + cutMark, true
		}
	}
	return text, false
}

// Body is a stored message's body with its text cut to most UTF-16 code units over all
// its text blocks, and whether that took something away.
func Body(body jsontext.Value, most int) (jsontext.Value, bool) {
	if len(body) <= most {
		return body, false
	}
	dec := jsontext.NewDecoder(bytes.NewReader(body))
	var out bytes.Buffer
	enc := jsontext.NewEncoder(&out)
	cut := false
	copyToken := func() jsontext.Token {
		t, err := dec.ReadToken()
		if err == nil {
			t = t.Clone()
			err = enc.WriteToken(t)
		}
		if err != nil { // Sluice encoded it
			panic(err)
		}
		return t
	}
	copyToken() // {
	for dec.PeekKind() != '}' {
		name := copyToken().String()
		v, err := dec.ReadValue()
		if err == nil && (name == "content" || name == "text") {
			var taken bool
			if v, taken = content(v.Clone(), most); taken {
				cut = true
			}
		}
		if err == nil {
			err = enc.WriteValue(v)
		}
		if err != nil {
			panic(err)
		}
	}
	copyToken() // }
	return bytes.TrimSpace(out.Bytes()), cut
}

// content cuts what a message says: a text, or blocks of which some are text.
func content(v jsontext.Value, most int) (jsontext.Value, bool) {
	switch v.Kind() {
	case '"':
		var text string
		if json.Unmarshal(v, &text) != nil {
			return v, false
		}
		short, cut := Cut(text, most)
		if !cut {
			return v, false
		}
		return quote(short), true
	case '[':
		var blocks []jsontext.Value
		if json.Unmarshal(v, &blocks) != nil {
			return v, false
		}
		cut, left := false, most
		for i, b := range blocks {
			var taken bool
			if blocks[i], left, taken = block(b, left); taken {
				cut = true
			}
		}
		if !cut {
			return v, false
		}
		out, err := json.Marshal(blocks)
		if err != nil {
			return v, false
		}
		return out, true
	}
	return v, false
}

// block cuts one block to what is left for the message.
func block(b jsontext.Value, left int) (jsontext.Value, int, bool) {
	var t struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if json.Unmarshal(b, &t) != nil || t.Type != "text" {
		return b, left, false
	}
	short, cut := Cut(t.Text, max(left, 0))
	left -= utf8.RuneCountInString(t.Text) + 1
	if !cut {
		return b, left, false
	}
	t.Text = short
	out, err := json.Marshal(t)
	if err != nil {
		return b, left, false
	}
	return out, left, true
}

func quote(s string) jsontext.Value {
	b, err := jsontext.AppendQuote(nil, strings.ToValidUTF8(s, "\ufffd"))
	if err != nil { // valid by then
		panic(err)
	}
	return b
}
