package persist

import "fmt"

// Config bounds the write queue. Zero values are refused; start from Default.
type Config struct {
	QueueEnvelopes int `json:"queueEnvelopes" doc:"envelopes that wait to be written or, written, to be answered; at the bound writes are refused with UNAVAILABLE" min:"1"`
	BatchEnvelopes int `json:"batchEnvelopes" doc:"envelopes in one transaction" min:"1"`
	QueueUpdates   int `json:"queueUpdates" doc:"changes of Sluice's own that wait to be written (a run that starts, a device that was seen); at the bound whoever makes one waits" min:"1"`
}

// Default returns the embedded defaults; libraries.md 2.4 measured batches of 256.
func Default() Config { return Config{QueueEnvelopes: 4096, BatchEnvelopes: 256, QueueUpdates: 256} }

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	switch {
	case c.QueueEnvelopes < 1:
		return fmt.Errorf("queueEnvelopes: %d; at least 1", c.QueueEnvelopes)
	case c.BatchEnvelopes < 1:
		return fmt.Errorf("batchEnvelopes: %d; at least 1", c.BatchEnvelopes)
	case c.QueueUpdates < 1:
		return fmt.Errorf("queueUpdates: %d; at least 1", c.QueueUpdates)
	}
	return nil
}
