package connect

import (
	"net/netip"
	"strings"
)

// hostName returns the host of a Host header, lower case, without port or brackets.
func hostName(header string) string {
	host := strings.ToLower(strings.TrimSpace(header))
	if strings.HasPrefix(host, "[") {
		if end := strings.IndexByte(host, ']'); end > 0 {
			return host[1:end]
		}
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is6() {
		return host
	}
	name, _, _ := strings.Cut(host, ":")
	return name
}

// loopbackHost reports whether a host name or address literal means this machine.
func loopbackHost(host string) bool {
	host = strings.Trim(strings.ToLower(host), "[]")
	if strings.TrimRight(host, ".") == "localhost" {
		return true
	}
	addr, ok := address(host)
	return ok && addr.IsLoopback()
}

// privateHost reports whether a host name or address literal is loopback or an address
// of a private network. A name other than localhost is not: it could resolve anywhere.
func privateHost(host string) bool {
	if loopbackHost(host) {
		return true
	}
	addr, ok := address(strings.Trim(host, "[]"))
	return ok && privateAddr(addr)
}

var carrierGradeNAT = netip.MustParsePrefix("100.64.0.0/10")

// privateAddr covers loopback, RFC 1918, link-local, carrier-grade NAT and IPv6 unique
// local addresses. Addresses that embed another one (NAT64) are not private.
func privateAddr(addr netip.Addr) bool {
	return addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast() || carrierGradeNAT.Contains(addr)
}

// address parses an address literal; a v4-mapped v6 address counts as its v4 one.
func address(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, false
	}
	return addr.WithZone("").Unmap(), true
}
