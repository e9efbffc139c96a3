package webhook

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// errAddress: the target's name led to an address that it may not reach.
var errAddress = errors.New("address is not allowed")

// newClient returns the client of one kind of target. The address is checked when the
// socket is about to connect, after the name was resolved: a name that resolves to
// something else the second time gains nothing.
func newClient(allowPrivate bool) *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second,
		Control: func(_, address string, _ syscall.RawConn) error { return checkAddress(address, allowPrivate) }}
	return &http.Client{
		Transport: &http.Transport{
			// No proxy from the environment: it would connect where the check cannot look.
			Proxy:                  nil,
			DialContext:            dialer.DialContext,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    5 * time.Second,
			MaxIdleConns:           32,
			MaxIdleConnsPerHost:    4,
			IdleConnTimeout:        60 * time.Second,
			MaxResponseHeaderBytes: 32 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func checkAddress(address string, allowPrivate bool) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", errAddress, address)
	}
	switch ip := at.Addr().Unmap().WithZone(""); {
	case forbidden(ip):
		return fmt.Errorf("%w: %s is link-local, multicast or reserved", errAddress, ip)
	case private(ip) && !allowPrivate:
		return fmt.Errorf("%w: %s is private; set allowPrivate on the target if it is meant", errAddress, ip)
	}
	return nil
}

// Networks that no target may be in. Link-local holds the metadata services of clouds.
var reserved = prefixes("0.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "240.0.0.0/4", "100::/64", "2001:db8::/32", "2001::/23", "fec0::/10")

// carriers hold an IPv4 address inside: NAT64 and 6to4.
var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96")
	nat64l = netip.MustParsePrefix("64:ff9b:1::/48")
	sixTo4 = netip.MustParsePrefix("2002::/16")
	shared = netip.MustParsePrefix("100.64.0.0/10")
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

func forbidden(ip netip.Addr) bool {
	if ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() || nat64l.Contains(ip) {
		return true
	}
	for _, p := range reserved {
		if p.Contains(ip) {
			return true
		}
	}
	inner, ok := embedded(ip)
	return ok && (forbidden(inner) || private(inner))
}

func private(ip netip.Addr) bool {
	return ip.IsLoopback() || ip.IsPrivate() || shared.Contains(ip)
}

func embedded(ip netip.Addr) (netip.Addr, bool) {
	b := ip.As16()
	switch {
	case !ip.Is6():
		return netip.Addr{}, false
	case nat64.Contains(ip):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case sixTo4.Contains(ip):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}
