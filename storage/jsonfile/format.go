package jsonfile

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/storage"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// envelope is the content of a file whose name cannot hold the key, or whose value is
// not JSON. Exactly one of Value and Base64 is there.
type envelope struct {
	Key    string         `json:"key"`
	Value  jsontext.Value `json:"value,omitzero"`
	Base64 *[]byte        `json:"base64,omitzero"`
	CRC32C uint32         `json:"crc32c,omitzero"`
}

// format returns the file name and the content that hold value under key.
func format(key string, value []byte) (file string, content []byte) {
	plain, wrapped := fileNames(key)
	isJSON := jsontext.Value(value).IsValid()
	if isJSON && plain != "" {
		return plain, append(append(make([]byte, 0, len(value)+1), value...), '\n')
	}
	e := envelope{Key: key}
	if isJSON && len(bytes.TrimSpace(value)) == len(value) {
		e.Value = value
	} else {
		e.Base64, e.CRC32C = &value, crc32.Checksum(value, castagnoli)
	}
	content, err := json.Marshal(e)
	if err != nil {
		// CheckKey has made sure of the key's UTF-8, IsValid of the value's JSON.
		panic(fmt.Sprintf("jsonfile: encode the envelope of %q: %v", key, err))
	}
	return wrapped, append(content, '\n')
}

// parse returns the key (empty if the file's name says it) and value of a file.
// A file that a person edited may lack the last newline.
func parse(wrapped bool, content []byte) (key string, value []byte, err error) {
	if !wrapped {
		value, _ = bytes.CutSuffix(content, []byte("\n"))
		if !jsontext.Value(value).IsValid() {
			return "", nil, errors.New("not one JSON value")
		}
		return "", value[:len(value):len(value)], nil
	}
	var e envelope
	if err := json.Unmarshal(content, &e, json.RejectUnknownMembers(true)); err != nil {
		return "", nil, err
	}
	if err := storage.CheckKey(storage.Meta, e.Key); err != nil {
		return "", nil, err
	}
	switch {
	case e.Base64 != nil && e.Value == nil:
		if crc32.Checksum(*e.Base64, castagnoli) != e.CRC32C {
			return "", nil, errors.New("the checksum of the value does not match")
		}
		return e.Key, *e.Base64, nil
	case e.Value != nil && e.Base64 == nil:
		return e.Key, e.Value, nil
	}
	return "", nil, errors.New(`an envelope has either "value" or "base64"`)
}
