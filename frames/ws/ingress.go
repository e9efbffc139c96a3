package ws

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Ingress is where a request really came from.
type Ingress struct {
	// RemoteIP is the client's address: the socket's peer, or the hop that a trusted
	// proxy named in X-Forwarded-For.
	RemoteIP string
	// PeerLoopback: the socket's peer is loopback.
	PeerLoopback bool
	// Local: it is, and no forwarding header was sent; the Host header is irrelevant
	// (wire.md 3.1).
	Local bool
}

// Ingress attributes a request to a client. ok is false when the request carries
// forwarding headers that nobody trusted vouches for, or comes from a trusted proxy
// that names no client: it must be answered with RefuseProxy.
func (s *Server) Ingress(r *http.Request) (in Ingress, ok bool) {
	return attribute(r, s.cfg.Load().proxies)
}

func attribute(r *http.Request, proxies []netip.Prefix) (in Ingress, ok bool) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	in.RemoteIP = host
	peer, perr := netip.ParseAddr(host)
	peer = peer.WithZone("").Unmap()
	if perr == nil {
		in.RemoteIP = peer.String()
		in.PeerLoopback = peer.IsLoopback()
	}
	forwarded := hasForwarding(r.Header)
	switch {
	case in.PeerLoopback && !forwarded:
		in.Local = true
		return in, true
	case perr == nil && trusted(peer, proxies):
		client, found := forwardedClient(r.Header.Get("X-Forwarded-For"), proxies)
		if !found {
			return in, false
		}
		in.RemoteIP = client
		return in, true
	}
	return in, !forwarded
}

// hasForwarding reports whether any header claims to speak for another client. The
// Tailscale ones count: only its own proxy may set them.
func hasForwarding(h http.Header) bool {
	for name := range h {
		switch {
		case name == "Forwarded", name == "X-Real-Ip",
			strings.HasPrefix(name, "X-Forwarded-"), strings.HasPrefix(name, "Tailscale-"):
			return true
		}
	}
	return false
}

// forwardedClient walks X-Forwarded-For from the nearest hop outwards and returns the
// first that is neither loopback nor a trusted proxy: anything further out may be made up.
func forwardedClient(chain string, proxies []netip.Prefix) (string, bool) {
	hops := strings.Split(chain, ",")
	for i := len(hops) - 1; i >= 0; i-- {
		a, ok := parseHop(hops[i])
		if !ok || a.IsLoopback() || trusted(a, proxies) {
			continue
		}
		return a.String(), true
	}
	return "", false
}

// parseHop reads an address with or without brackets and port.
func parseHop(s string) (netip.Addr, bool) {
	s = strings.TrimSpace(s)
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.WithZone("").Unmap(), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().WithZone("").Unmap(), true
	}
	return netip.Addr{}, false
}

func trusted(a netip.Addr, proxies []netip.Prefix) bool {
	for _, p := range proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// proxyRefusal is the real gateway's body, to the letter (wire.md 3.1).
const proxyRefusal = `{"error":{"message":"Proxy client attribution is required. Configure gateway.trustedProxies narrowly and make the proxy overwrite or safely rebuild forwarded client headers.","type":"proxy_attribution_required"}}`

// RefuseProxy answers a request that Ingress did not attribute.
func RefuseProxy(w http.ResponseWriter) {
	refuse(w, http.StatusForbidden, "application/json; charset=utf-8", proxyRefusal)
}

func refuse(w http.ResponseWriter, status int, contentType, body string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Connection", "close")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}
