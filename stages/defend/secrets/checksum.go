package secrets

import (
	"encoding/base64"
	"hash/crc32"
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// crcFits reports whether the last six characters of a GitHub or npm token's body are
// the CRC-32 of the others in base 62.
func crcFits(body []byte) bool {
	if len(body) != 36 {
		return false
	}
	crc := crc32.ChecksumIEEE(body[:30])
	for i := 35; i >= 30; i-- {
		if body[i] != base62[crc%62] {
			return false
		}
		crc /= 62
	}
	return crc == 0
}

const bech32Set = "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"

// bech32Fits checks the checksum of an age key, "AGE-SECRET-KEY-1…".
func bech32Fits(text []byte) bool {
	const human = "age-secret-key-"
	if len(text) <= len(human)+1 {
		return false
	}
	check := uint32(1)
	step := func(v uint32) {
		top := check >> 25
		check = check&0x1ffffff<<5 ^ v
		for i, g := range [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 != 0 {
				check ^= g
			}
		}
	}
	for i := range len(human) {
		step(uint32(human[i]) >> 5)
	}
	step(0)
	for i := range len(human) {
		step(uint32(human[i]) & 31)
	}
	for _, c := range text[len(human)+1:] {
		v := -1
		for i := range len(bech32Set) {
			if bech32Set[i] == c {
				v = i
			}
		}
		if v < 0 {
			return false
		}
		step(uint32(v))
	}
	return check == 1
}

// jwtHeader reports whether the first part of a JWT decodes to an object with "alg".
func jwtHeader(part []byte) bool {
	var buf [384]byte
	part = part[:min(len(part), 512)&^3] // whole groups: the rest decodes by itself
	if len(part) == 0 {
		return false
	}
	n, err := base64.RawURLEncoding.Decode(buf[:], part)
	if err != nil || n < 8 || buf[0] != '{' {
		return false
	}
	return containsFold(buf[:n], `"alg"`) || containsFold(buf[:n], `"typ"`) || containsFold(buf[:n], `"enc"`)
}
