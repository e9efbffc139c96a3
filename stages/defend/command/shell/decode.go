package shell

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"io"
	"strings"

	"sluice/stages/defend/command/paths"
)

func base64Tool(m *Machine, c *Call, j *job) Value {
	for _, a := range c.Args {
		if a.S == "-d" || a.S == "-D" || strings.HasPrefix(a.S, "--d") || len(a.S) > 1 && a.S[0] == '-' && a.S[1] != '-' && strings.ContainsAny(a.S, "dD") {
			return decodeTool(m, c, j)
		}
	}
	return encodeTool(m, c, j)
}

func base32Tool(m *Machine, c *Call, j *job) Value {
	if !hasAny(c.Args, "-d", "--decode", "-D") {
		return encodeTool(m, c, j)
	}
	v := m.read(c, j, plainArgs(c))
	if b, err := base32.StdEncoding.DecodeString(strings.Join(strings.Fields(v.Plain()), "")); err == nil && len(b) > 0 && v.Known() {
		return Value{strings.ReplaceAll(string(b), hole, ""), v.Taint | Decoded}
	}
	return Value{hole, v.Taint | Decoded}
}

func decodeTool(m *Machine, c *Call, j *job) Value {
	v := m.read(c, j, plainArgs(c))
	if s, ok := decode64(v.S); ok {
		return Value{s, v.Taint | Decoded}
	}
	return Value{hole, v.Taint | Decoded}
}

func decode64(s string) (string, bool) {
	if strings.IndexByte(s, Hole) >= 0 {
		return "", false
	}
	s = strings.TrimRight(strings.Join(strings.Fields(s), ""), "=")
	if len(s) < 2 {
		return "", false
	}
	enc := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		enc = base64.RawURLEncoding
	}
	b, err := enc.DecodeString(s)
	if err != nil && len(b) < len(s)/2 {
		return "", false
	}
	if bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		return string(b), true
	}
	return strings.ReplaceAll(string(b), hole, ""), true
}

func encodeTool(m *Machine, c *Call, j *job) Value {
	v := m.read(c, j, plainArgs(c))
	if strings.Contains(c.Name, "64") && v.Known() {
		return Value{base64.StdEncoding.EncodeToString([]byte(v.S)) + "\n", v.Taint | Encoded}
	}
	return Value{hole, v.Taint | Encoded}
}

func openssl(m *Machine, c *Call, j *job) Value {
	switch {
	case c.Sub("s_client"):
		return Value{hole, Net}
	case hasAny(c.Args, "-d") && (c.Sub("base64") || hasAny(c.Args, "-base64", "-a")):
		in := Call{Name: "base64", Args: nil}
		if v, ok := value(c.Args, "-in"); ok {
			in.Args = []Value{v}
		}
		return decodeTool(m, &in, j)
	case hasAny(c.Args, "-d", "-decrypt"):
		return Value{hole, j.in.val.Taint | Decoded}
	}
	v := j.in.val
	if in, ok := value(c.Args, "-in"); ok {
		v = m.contents(in.S, paths.Of(in.S))
	}
	return Value{hole, v.Taint | Encoded}
}

func xxd(m *Machine, c *Call, j *job) Value {
	back := false
	for _, a := range c.Args {
		back = back || len(a.S) > 1 && a.S[0] == '-' && strings.IndexByte(a.S, 'r') > 0
	}
	v := m.read(c, j, nil)
	if args := plainArgs(c); len(args) > 0 && !j.in.piped {
		v = m.read(c, j, args[:1])
	}
	if !back {
		if v.Known() && hasAny(c.Args, "-p", "-ps", "-plain") {
			return Value{hex.EncodeToString([]byte(v.S)) + "\n", v.Taint | Encoded}
		}
		return Value{hole, v.Taint | Encoded}
	}
	clean := strings.NewReplacer("\\x", "", "0x", "", " ", "", "\n", "", ":", "").Replace(v.S)
	if b, err := hex.DecodeString(clean); err == nil && v.Known() {
		return Value{strings.ReplaceAll(string(b), hole, ""), v.Taint | Decoded}
	}
	return Value{hole, v.Taint | Decoded}
}

func zip(m *Machine, c *Call, j *job) Value {
	unpack := strings.HasPrefix(c.Name, "un") || strings.HasPrefix(c.Name, "gun") || strings.HasPrefix(c.Name, "bun") || strings.HasSuffix(c.Name, "cat")
	for _, a := range c.Args {
		unpack = unpack || len(a.S) > 1 && a.S[0] == '-' && strings.IndexByte(a.S, 'd') > 0
	}
	v := m.read(c, j, plainArgs(c))
	if !unpack {
		return Value{hole, v.Taint}
	}
	var r io.Reader
	switch {
	case strings.HasPrefix(v.S, "\x1f\x8b"):
		gz, err := gzip.NewReader(strings.NewReader(v.S))
		if err != nil {
			break
		}
		r = gz
	case strings.HasPrefix(v.S, "BZh"):
		r = bzip2.NewReader(strings.NewReader(v.S))
	}
	if r != nil {
		if b, _ := io.ReadAll(io.LimitReader(r, maxValue)); len(b) > 0 {
			return Value{strings.ReplaceAll(string(b), hole, ""), v.Taint | Decoded}
		}
	}
	return Value{hole, v.Taint | Decoded&v.Taint}
}
