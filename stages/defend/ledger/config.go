package ledger

import (
	"crypto/ecdh"
	"encoding/base64"
	"fmt"
)

// What is kept of the text that was judged.
const (
	// ContentNone keeps its SHA-256 and its length alone.
	ContentNone = "none"
	// ContentRedacted keeps it too, with the secrets in it hidden.
	ContentRedacted = "redacted"
	// ContentEncrypted keeps it whole, to be read with the operator's private key alone.
	ContentEncrypted = "encrypted"
)

// Config bounds the journal.
type Config struct {
	SegmentBytes    int64  `json:"segmentBytes" doc:"size at which the journal goes on in a new file" unit:"bytes" min:"65536" max:"1073741824" reload:"restart"`
	MaxBytes        int64  `json:"maxBytes" doc:"bytes of all files together; the oldest files are removed, with an entry that says so; at least twice segmentBytes" unit:"bytes" min:"131072" reload:"restart"`
	RetainDays      int    `json:"retainDays" doc:"days after which a file that is no longer written is removed, with an entry that says so; 0 keeps it until maxBytes" unit:"days" min:"0" max:"36500" reload:"restart"`
	Content         string `json:"content" doc:"what is kept of the text that was judged: none, redacted, or encrypted to encryptTo" enum:"none,redacted,encrypted" reload:"restart"`
	MaxContentBytes int    `json:"maxContentBytes" doc:"bytes of one text that are kept; its SHA-256 is over all of it" unit:"bytes" min:"0" max:"131072" reload:"restart"`
	EncryptTo       string `json:"encryptTo" doc:"the operator's X25519 public key in base64, for content encrypted" secret:"false" reload:"restart"`
	Queue           int    `json:"queue" doc:"entries that wait for the disk; at the bound the caller waits" min:"1" max:"65536" reload:"restart"`
	BatchEntries    int    `json:"batchEntries" doc:"entries that are written with one fsync" min:"1" max:"4096" reload:"restart"`
}

// Default keeps a gigabyte, redacted.
func Default() Config {
	return Config{SegmentBytes: 64 << 20, MaxBytes: 1 << 30, RetainDays: 400, Content: ContentRedacted,
		MaxContentBytes: 16 << 10, Queue: 1024, BatchEntries: 256}
}

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	switch {
	case c.SegmentBytes < 65536 || c.SegmentBytes > 1<<30:
		return fmt.Errorf("defend.ledger.segmentBytes: %d; 65536 to 1073741824", c.SegmentBytes)
	case c.MaxBytes < 2*c.SegmentBytes:
		return fmt.Errorf("defend.ledger.maxBytes: %d; at least twice segmentBytes (%d)", c.MaxBytes, c.SegmentBytes)
	case c.RetainDays < 0 || c.RetainDays > 36500:
		return fmt.Errorf("defend.ledger.retainDays: %d; 0 to 36500", c.RetainDays)
	case c.Content != ContentNone && c.Content != ContentRedacted && c.Content != ContentEncrypted:
		return fmt.Errorf("defend.ledger.content: %q is neither none, redacted nor encrypted", c.Content)
	case c.MaxContentBytes < 0 || c.MaxContentBytes > maxContent:
		return fmt.Errorf("defend.ledger.maxContentBytes: %d; 0 to %d", c.MaxContentBytes, maxContent)
	case c.Queue < 1 || c.Queue > 65536:
		return fmt.Errorf("defend.ledger.queue: %d; 1 to 65536", c.Queue)
	case c.BatchEntries < 1 || c.BatchEntries > 4096:
		return fmt.Errorf("defend.ledger.batchEntries: %d; 1 to 4096", c.BatchEntries)
	}
	if c.Content == ContentEncrypted || c.EncryptTo != "" {
		if _, err := ParsePublicKey(c.EncryptTo); err != nil {
			return fmt.Errorf("defend.ledger.encryptTo: %w", err)
		}
	}
	return nil
}

// ParsePublicKey reads a key as encryptTo holds it.
func ParsePublicKey(text string) (*ecdh.PublicKey, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != 32 {
		return nil, fmt.Errorf("not an X25519 public key: 32 bytes in base64 are expected; sluice ledger keygen makes one")
	}
	return ecdh.X25519().NewPublicKey(raw)
}
