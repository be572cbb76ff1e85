package gateway

import (
	"net/http"
	"net/netip"
	"strings"
)

// maxHops bounds how many addresses of X-Forwarded-For are looked at.
const maxHops = 32

// proxies are the networks of the load balancers in front of the gateway. Only
// what a connection from one of them says about its client is believed.
type proxies []netip.Prefix

func (p proxies) trusted(a netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// client returns the address of whoever sent r, and whether the way there is
// protected by TLS. The address is invalid when the connection has none.
func (p proxies) client(r *http.Request) (addr netip.Addr, secure bool) {
	secure = r.TLS != nil
	peer, ok := parseAddr(r.RemoteAddr)
	if !ok || !p.trusted(peer) {
		return peer, secure
	}
	if protos := r.Header.Values("X-Forwarded-Proto"); len(protos) > 0 {
		last := protos[len(protos)-1]
		secure = strings.EqualFold(strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:]), "https")
	}
	return p.forwarded(peer, r.Header.Values("X-Forwarded-For")), secure
}

// forwarded walks the list of X-Forwarded-For from its end, where the proxy next
// to us wrote, and returns the first address that is no trusted proxy's. What stands to the left
// of it was sent by the client and may be anything. A list that cannot be read
// further tells no more than the last proxy that could be read.
func (p proxies) forwarded(peer netip.Addr, lines []string) netip.Addr {
	hops := 0
	for i := len(lines) - 1; i >= 0; i-- {
		rest, more := lines[i], true
		for more {
			var entry string
			if cut := strings.LastIndexByte(rest, ','); cut >= 0 {
				rest, entry = rest[:cut], rest[cut+1:]
			} else {
				entry, more = rest, false
			}
			addr, ok := parseAddr(strings.TrimSpace(entry))
			if hops++; !ok || hops > maxHops {
				return peer
			}
			if peer = addr; !p.trusted(addr) {
				return peer
			}
		}
	}
	return peer
}

// parseAddr reads an IP address with or without a port. Zones are dropped and
// IPv4 addresses in IPv6 form count as IPv4.
func parseAddr(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		withPort, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = withPort.Addr()
	}
	return addr.Unmap().WithZone(""), true
}
