package frames

import (
	"errors"
	"reflect"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// paramsOptions are the one rule by which params become Go values: names are matched
// exactly, a name given twice is refused, and a lone surrogate becomes U+FFFD, as
// Unquote does it for the validator and the defenders.
var paramsOptions = json.JoinOptions(jsontext.AllowInvalidUTF8(true))

// laxNumbers reads integers that are written as 5.0 or 1e3, which JavaScript and the
// validator call integers.
var laxNumbers = json.JoinOptions(paramsOptions, json.WithUnmarshalers(json.JoinUnmarshalers(
	json.UnmarshalFromFunc(laxInt[int]), json.UnmarshalFromFunc(laxInt[int64]),
	json.UnmarshalFromFunc(laxInt[int32]), json.UnmarshalFromFunc(laxInt[uint64]),
)))

// UnmarshalParams decodes raw params into v, which is a pointer as for json.Unmarshal;
// nil params count as {}. Every handler and defender that wants Go values uses it, so
// that all of them read what the validator read. Members that v has no field for are
// skipped: closed objects are the schema's business.
//
// It returns nil or INVALID_REQUEST "invalid params: …". After Schema.Validate only an
// integer that does not fit v can still fail.
func UnmarshalParams(b []byte, v any) *Error {
	if len(b) == 0 {
		b = emptyObject
	}
	err := json.Unmarshal(b, v, paramsOptions)
	if err == nil {
		return nil
	}
	var semantic *json.SemanticError
	if errors.As(err, &semantic) && semantic.JSONKind == '0' {
		if json.Unmarshal(b, v, laxNumbers) == nil {
			return nil
		}
	}
	return Invalid("invalid params: %s", unmarshalText(err))
}

// unmarshalText words a decoding error in the validator's style; Go's own text names Go
// types, which mean nothing to a client.
func unmarshalText(err error) string {
	var semantic *json.SemanticError
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.As(err, &semantic) && semantic.GoType != nil:
		return atPointer(semantic.JSONPointer) + "must be " + typeName(semantic.GoType)
	case errors.As(err, &syntactic) && errors.Is(err, jsontext.ErrDuplicateName):
		return "duplicate property '" + syntactic.JSONPointer.LastToken() + "'"
	case errors.As(err, &syntactic):
		return "not JSON"
	}
	return "cannot be read"
}

func atPointer(p jsontext.Pointer) string {
	if p == "" {
		return ""
	}
	return "at " + string(p) + ": "
}

// typeName names a Go type as JSON Schema does.
func typeName(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Slice, reflect.Array:
		return "array"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "integer"
	}
	return "object"
}

func laxInt[T int | int32 | int64 | uint64](dec *jsontext.Decoder, v *T) error {
	if dec.PeekKind() != '0' {
		return errors.ErrUnsupported
	}
	raw, err := dec.ReadValue()
	if err != nil {
		return err
	}
	n := parseNumber(raw)
	out := T(n.v)
	if !n.integer || float64(out) != n.v {
		if whole, err := strconv.ParseInt(string(raw), 10, 64); err == nil && int64(T(whole)) == whole {
			*v = T(whole)
			return nil
		}
		return errors.New("integer is out of range")
	}
	if whole, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		out = T(whole) // exact beyond 2^53
	}
	*v = out
	return nil
}
