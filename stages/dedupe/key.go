package dedupe

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// rule says how a method's keys behave (wire.md 3.10).
type rule struct {
	// namespace is shared by methods whose keys name the same thing: a chat run.
	namespace string
	// conflict: the same key with other content is refused; otherwise it replays.
	conflict bool
	// volatile params do not count as content.
	volatile []string
}

var rules = map[string]rule{
	"chat.send":       {namespace: "chat", conflict: true, volatile: []string{"timeoutMs"}},
	"sessions.send":   {namespace: "chat", conflict: true, volatile: []string{"timeoutMs"}},
	"sessions.create": {namespace: "create", conflict: true},
	"agent":           {namespace: "agent", volatile: []string{"timeout"}},
	"send":            {namespace: "send"},
	"poll":            {namespace: "poll"},
	"message.action":  {namespace: "action"},
	"wake":            {namespace: "wake"},
}

// maxKeyBytes bounds an idempotency key; longer ones are refused by the params schemas
// that have a bound, and hashed into the storage key by those that have none.
const maxKeyBytes = 256

// storageKey maps a table key to a key of the store: identities and client-made keys
// may hold any bytes, so it is a hash.
func storageKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// idempotencyKey finds params.idempotencyKey (or clientMessageId-like absence: false).
// It reads by the same rules as the handlers: first level only, no duplicates (the
// params schema has refused those).
func idempotencyKey(params []byte) (string, bool) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(params), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return "", false
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return "", false
		}
		if name.String() != "idempotencyKey" {
			if dec.SkipValue() != nil {
				return "", false
			}
			continue
		}
		value, err := dec.ReadToken()
		if err != nil || value.Kind() != '"' || value.String() == "" {
			return "", false
		}
		key := value.String()
		if len(key) > maxKeyBytes {
			key = storageKey(key)
		}
		return key, true
	}
	return "", false
}

// contentHash hashes what a request asks for: method and canonical params, without the
// key itself and without what a client may change between tries.
func contentHash(method string, params []byte, volatile []string) [32]byte {
	h := sha256.New()
	io.WriteString(h, method)
	v := jsontext.Value(append([]byte(nil), params...))
	if err := v.Canonicalize(jsontext.AllowInvalidUTF8(true)); err != nil {
		h.Write(params)
		return [32]byte(h.Sum(nil))
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(v), jsontext.AllowInvalidUTF8(true))
	dec.ReadToken()
	for dec.PeekKind() == '"' {
		name, err := dec.ReadValue()
		if err != nil {
			break
		}
		skip := string(name) == `"idempotencyKey"`
		for _, x := range volatile {
			skip = skip || string(name) == `"`+x+`"`
		}
		if !skip {
			h.Write(name)
		}
		value, err := dec.ReadValue()
		if err != nil {
			break
		}
		if !skip {
			h.Write(value)
		}
	}
	return [32]byte(h.Sum(nil))
}
