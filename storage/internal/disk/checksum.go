package disk

import (
	"hash/crc32"

	"sluice/storage"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the CRC-32C of a value with its collection and key, so that neither
// a flipped bit nor a value under another's key goes unnoticed (about 60 ns for 1 KiB,
// in hardware). bbolt and SQLite have no checksums over their data of their own.
func Checksum(c storage.Collection, key string, value []byte) uint32 {
	var name [storage.MaxKeyBytes + 64]byte
	n := copy(name[:], c)
	n++ // a zero byte between collection and key
	n += copy(name[n:], key)
	return crc32.Update(crc32.Checksum(name[:n], castagnoli), castagnoli, value)
}
