package bolt

import (
	"encoding/binary"
	"fmt"

	"sluice/storage"
	"sluice/storage/internal/disk"
)

// bbolt has checksums on its two meta pages only. A bit that flips in a data page would
// come back as somebody's message, so each value carries disk.Checksum as a trailer.
const trailerBytes = 4

// seal returns a copy of value with its trailer.
func seal(c storage.Collection, key string, value []byte) []byte {
	raw := make([]byte, len(value)+trailerBytes)
	copy(raw, value)
	binary.LittleEndian.PutUint32(raw[len(value):], disk.Checksum(c, key, value))
	return raw
}

// unseal returns the value within raw, or an error that wraps storage.ErrCorrupt.
func unseal(c storage.Collection, key string, raw []byte) ([]byte, error) {
	n := len(raw) - trailerBytes
	if n < 0 || binary.LittleEndian.Uint32(raw[n:]) != disk.Checksum(c, key, raw[:n]) {
		return nil, fmt.Errorf("%w: the checksum of %s/%s does not match; restart to set the damaged file aside", storage.ErrCorrupt, c, key)
	}
	return raw[:n:n], nil
}
