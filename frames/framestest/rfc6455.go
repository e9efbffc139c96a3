package framestest

import (
	"bytes"
	"encoding/binary"
)

// WireCase is what a client sends after the upgrade and what a server must do about it.
type WireCase struct {
	Name string
	// Bytes are the client's raw bytes. They are sent in one write, or byte by byte
	// when Trickle is set.
	Bytes   []byte
	Trickle bool
	// Messages are the data messages that the server must receive, in order, and Pongs
	// the payloads of the pongs that it must send.
	Messages [][]byte
	Pongs    [][]byte
	// Close are the close codes that the server may answer with; none means that the
	// connection must stay open. 1005 stands for a close frame without a code.
	Close []uint16
}

// The opcodes of RFC 6455 section 5.2.
const (
	OpContinuation byte = 0x0
	OpText         byte = 0x1
	OpBinary       byte = 0x2
	OpClose        byte = 0x8
	OpPing         byte = 0x9
	OpPong         byte = 0xA
)

// Fin and the reserved bits of a frame's first byte.
const (
	Fin  byte = 0x80
	Rsv1 byte = 0x40
	Rsv2 byte = 0x20
	Rsv3 byte = 0x10
)

// ClientFrame encodes one masked frame; head is its first byte, for example Fin|OpText.
func ClientFrame(head byte, payload []byte) []byte {
	mask := [4]byte{0x37, 0xFA, 0x21, 0x3D}
	b := append(frameHead(head, 0x80, uint64(len(payload))), mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i&3])
	}
	return b
}

// UnmaskedFrame encodes one frame as a server does.
func UnmaskedFrame(head byte, payload []byte) []byte {
	return append(frameHead(head, 0, uint64(len(payload))), payload...)
}

func frameHead(head, masked byte, n uint64) []byte {
	b := []byte{head}
	switch {
	case n < 126:
		return append(b, masked|byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, masked|126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(b, masked|127), n)
}

// ClosePayload encodes a close frame's payload.
func ClosePayload(code uint16, reason string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, code), reason...)
}

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

// WireCases is the table. maxMessage is the server's limit for one message at that
// point (65536 before hello); frames above it are only declared, never sent.
func WireCases(maxMessage int) []WireCase {
	list := violations()
	list = append(list, closes()...)
	list = append(list, brokenText()...)
	list = append(list, legal()...)
	return append(list,
		WireCase{Name: "length over the limit, declared only", Close: []uint16{1009},
			Bytes: append(frameHead(Fin|OpText, 0x80, uint64(maxMessage)+1), 1, 2, 3, 4)},
		WireCase{Name: "length 2^62, declared only", Close: []uint16{1009},
			Bytes: append(frameHead(Fin|OpText, 0x80, 1<<62), 1, 2, 3, 4)},
		WireCase{Name: "fragments over the limit together", Close: []uint16{1009},
			Bytes: join(ClientFrame(OpText, bytes.Repeat([]byte("a"), maxMessage)), ClientFrame(Fin|OpContinuation, []byte("b")))},
	)
}

// violations are breaches of the framing rules.
func violations() []WireCase {
	hello := []byte("hello")
	breach := func(name string, b []byte) WireCase { return WireCase{Name: name, Bytes: b, Close: []uint16{1002}} }
	list := []WireCase{
		breach("reserved bit 1", ClientFrame(Fin|Rsv1|OpText, hello)),
		breach("reserved bit 2", ClientFrame(Fin|Rsv2|OpText, hello)),
		breach("reserved bit 3", ClientFrame(Fin|Rsv3|OpText, hello)),
		breach("reserved bit on a ping", ClientFrame(Fin|Rsv1|OpPing, nil)),
		breach("unmasked text", UnmaskedFrame(Fin|OpText, hello)),
		breach("unmasked ping", UnmaskedFrame(Fin|OpPing, nil)),
		breach("unmasked close", UnmaskedFrame(Fin|OpClose, ClosePayload(1000, ""))),
		breach("ping of 126 bytes", ClientFrame(Fin|OpPing, bytes.Repeat([]byte("p"), 126))),
		breach("close of 126 bytes", ClientFrame(Fin|OpClose, ClosePayload(1000, string(bytes.Repeat([]byte("c"), 124))))),
		breach("fragmented ping", ClientFrame(OpPing, hello)),
		breach("fragmented close", ClientFrame(OpClose, ClosePayload(1000, ""))),
		breach("continuation of nothing", ClientFrame(Fin|OpContinuation, hello)),
		breach("open continuation of nothing", ClientFrame(OpContinuation, hello)),
		breach("text inside a fragmented text", join(ClientFrame(OpText, hello), ClientFrame(Fin|OpText, hello))),
		breach("binary inside a fragmented text", join(ClientFrame(OpText, hello), ClientFrame(OpBinary, hello))),
		breach("continuation after the message ended", join(ClientFrame(OpText, []byte("{}")), ClientFrame(Fin|OpContinuation, nil), ClientFrame(Fin|OpContinuation, hello))),
		breach("length with the high bit", append([]byte{Fin | OpText, 0xFF}, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4)),
	}
	list[len(list)-1].Close = []uint16{1002, 1009}
	list[15].Messages = [][]byte{[]byte("{}")}
	for _, op := range []byte{0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF} {
		list = append(list, breach("reserved opcode "+string("0123456789ABCDEF"[op]), ClientFrame(Fin|op, nil)))
	}
	return list
}

// closes are close frames, good and bad.
func closes() []WireCase {
	one := func(name string, payload []byte, codes ...uint16) WireCase {
		return WireCase{Name: name, Bytes: ClientFrame(Fin|OpClose, payload), Close: codes}
	}
	list := []WireCase{
		one("close 1000", ClosePayload(1000, ""), 1000),
		one("close 1000 with a reason", ClosePayload(1000, "bye"), 1000),
		one("close 1001", ClosePayload(1001, ""), 1001, 1000),
		one("close 3000", ClosePayload(3000, ""), 3000, 1000),
		one("close 4000 tick timeout", ClosePayload(4000, "tick timeout"), 4000, 1000),
		one("close without a code", nil, 1005, 1000),
		one("close of one byte", []byte{3}, 1002),
		one("close with broken UTF-8", append(ClosePayload(1000, "x"), 0xFF), 1007, 1002),
		{Name: "data after close is not read", Close: []uint16{1000},
			Bytes: join(ClientFrame(Fin|OpClose, ClosePayload(1000, "")), ClientFrame(Fin|OpText, []byte("late")))},
	}
	for _, code := range []uint16{0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535} {
		list = append(list, one("close with the forbidden code "+itoa(code), ClosePayload(code, ""), 1002))
	}
	return list
}

func itoa(v uint16) string {
	var b [5]byte
	i := len(b)
	for {
		i--
		b[i] = '0' + byte(v%10)
		if v /= 10; v == 0 {
			return string(b[i:])
		}
	}
}

// brokenText are text messages that are not UTF-8.
func brokenText() []WireCase {
	bad := func(name string, b ...byte) WireCase {
		return WireCase{Name: "text with " + name, Bytes: ClientFrame(Fin|OpText, b), Close: []uint16{1007}}
	}
	return []WireCase{
		bad("byte FF", 0xFF),
		bad("a lone continuation byte", 'a', 0x80),
		bad("an overlong slash", 0xC0, 0xAF),
		bad("a cut sequence", 'a', 0xE2, 0x82),
		bad("a surrogate half", 0xED, 0xA0, 0x80),
		bad("a code point above 10FFFF", 0xF4, 0x90, 0x80, 0x80),
		{Name: "text broken across fragments", Close: []uint16{1007},
			Bytes: join(ClientFrame(OpText, []byte{0xE2, 0x82}), ClientFrame(Fin|OpContinuation, []byte{'a'}))},
		{Name: "text cut at the end of the last fragment", Close: []uint16{1007},
			Bytes: join(ClientFrame(OpText, []byte("a")), ClientFrame(Fin|OpContinuation, []byte{0xE2, 0x82}))},
	}
}

// legal are unusual but allowed. Their messages are `{}`, which is JSON and no frame;
// a server that answers them still receives each.
func legal() []WireCase {
	empty := []byte("{}")
	msgs := func(n int) [][]byte {
		out := make([][]byte, n)
		for i := range out {
			out[i] = empty
		}
		return out
	}
	euro := []byte("\"\xe2\x82\xac\"")
	return []WireCase{
		{Name: "text", Bytes: ClientFrame(Fin|OpText, empty), Messages: msgs(1)},
		{Name: "binary", Bytes: ClientFrame(Fin|OpBinary, empty), Messages: msgs(1)},
		{Name: "two messages in one write", Bytes: join(ClientFrame(Fin|OpText, empty), ClientFrame(Fin|OpText, empty)), Messages: msgs(2)},
		{Name: "one byte at a time", Trickle: true, Bytes: join(ClientFrame(Fin|OpText, empty), ClientFrame(Fin|OpPing, []byte("x"))), Messages: msgs(1), Pongs: [][]byte{[]byte("x")}},
		{Name: "two fragments", Bytes: join(ClientFrame(OpText, empty[:1]), ClientFrame(Fin|OpContinuation, empty[1:])), Messages: msgs(1)},
		{Name: "empty fragments", Bytes: join(ClientFrame(OpText, nil), ClientFrame(OpContinuation, empty), ClientFrame(OpContinuation, nil), ClientFrame(Fin|OpContinuation, nil)), Messages: msgs(1)},
		{Name: "a character across fragments", Bytes: join(ClientFrame(OpText, euro[:2]), ClientFrame(OpContinuation, euro[2:3]), ClientFrame(Fin|OpContinuation, euro[3:])), Messages: [][]byte{euro}},
		{Name: "ping", Bytes: ClientFrame(Fin|OpPing, []byte("hi")), Pongs: [][]byte{[]byte("hi")}},
		{Name: "ping of 125 bytes", Bytes: ClientFrame(Fin|OpPing, bytes.Repeat([]byte("p"), 125)), Pongs: [][]byte{bytes.Repeat([]byte("p"), 125)}},
		{Name: "ping inside a fragmented message", Bytes: join(ClientFrame(OpText, empty[:1]), ClientFrame(Fin|OpPing, []byte("mid")), ClientFrame(Fin|OpContinuation, empty[1:])), Messages: msgs(1), Pongs: [][]byte{[]byte("mid")}},
		{Name: "unasked pong", Bytes: join(ClientFrame(Fin|OpPong, []byte("never asked")), ClientFrame(Fin|OpText, empty)), Messages: msgs(1)},
	}
}
