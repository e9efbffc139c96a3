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

// chatVolatile are chat.send's params that say when it may run, not what it says: a
// client that tries again after a reconnect has new ones.
var chatVolatile = []string{"timeoutMs", "expectedLeafEntryId", "expectedSessionRoutingContract", "expectedPermissionMode", "expectedToolOverrides"}

var rules = map[string]rule{
	"chat.send":       {namespace: "chat", conflict: true, volatile: chatVolatile},
	"sessions.send":   {namespace: "chat", conflict: true, volatile: chatVolatile},
	"sessions.create": {namespace: "create", conflict: true},
	"agent":           {namespace: "agent", volatile: []string{"timeout"}},
	"send":            {namespace: "send"},
	"poll":            {namespace: "poll"},
	"message.action":  {namespace: "action"},
	"wake":            {namespace: "wake"},
}

// maxKeyBytes bounds what the table keeps of an idempotency key. The params schemas of
// some methods have no bound; of longer keys a hash is kept, marked by a byte that is
// not UTF-8 so that no client can write it.
const maxKeyBytes = 256

const longKey = "\xff"

// storageKey maps a table key to a key of the store: identities and client-made keys
// may hold any bytes, so it is a hash.
func storageKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func hashText(hash [32]byte) string { return hex.EncodeToString(hash[:]) }

// idempotencyKey finds params.idempotencyKey; false means that there is none to go by.
// It reads as the handlers do (frames.UnmarshalParams): first level only, and a lone
// surrogate is U+FFFD. Params with a name given twice never get here: the schema
// refuses them, and so does whoever reads them.
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
			key = longKey + storageKey(key)
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
