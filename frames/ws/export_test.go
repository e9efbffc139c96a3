package ws

// Deep reports whether the reader handled bytes since its goroutine is new.
func (c *Conn) Deep() bool { return c.deep.Load() }
