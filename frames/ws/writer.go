package ws

// wake starts the writer when none runs. The caller holds out.mu.
func (c *Conn) wake() {
	if !c.out.writing {
		c.out.writing = true
		go c.write()
	}
}

// writeLoop owns the socket's sending side while it runs. It takes whatever is queued,
// writes it, and ends when nothing is left; after a close frame it also ends the
// sending side, so that the peer reads the reason before it sees the end.
func (c *Conn) writeLoop() {
	o := &c.out
	o.mu.Lock()
	for {
		b := o.pop()
		if b == nil {
			if o.state != outClosing {
				break
			}
			o.mu.Unlock()
			c.closeWrite()
			o.mu.Lock()
			break
		}
		o.mu.Unlock()
		p := b.Bytes()
		err := c.writeOut(p)
		n := len(p)
		b.Release()
		o.mu.Lock()
		o.bytes -= n
		if err != nil {
			o.mu.Unlock()
			c.terminate()
			o.mu.Lock()
		}
	}
	o.writing = false
	idle := o.idle
	o.idle = nil
	o.mu.Unlock()
	if idle != nil {
		close(idle)
	}
}

// writeOut writes p in pieces, each within the write timeout (see Server.check).
func (c *Conn) writeOut(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), writeBytes)
		c.writeMs.Store(c.srv.now())
		wrote, err := c.conn.Write(p[:n])
		c.bytesOut.Add(uint64(wrote))
		c.writeMs.Store(0)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// closeWrite ends the sending side and leaves the receiving side open: if unread bytes
// were thrown away with the socket, the kernel would reset it and the peer would never
// read the close frame (gobwas/ws, example/autobahn failConn).
func (c *Conn) closeWrite() {
	if h, ok := c.conn.(interface{ CloseWrite() error }); ok {
		_ = h.CloseWrite()
	}
}
