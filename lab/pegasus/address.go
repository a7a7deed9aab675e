package pegasus

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/pegbook/pegbook/lab/pegasus/internal/config"
)

// ownAddress decides which address the server registers with and listens on.
// Several simulated hosts share the loopback interface, so the rule of the real
// server (interface, else first private address) comes after explicit settings.
func ownAddress(c *config.Config, role, override string) (netip.Addr, error) {
	for _, text := range []string{override, c.Address} {
		if text == "" {
			continue
		}
		a, err := netip.ParseAddr(text)
		if err != nil {
			return a, fmt.Errorf("own address: %w", err)
		}
		return a, nil
	}
	all, err := localAddresses("")
	if err != nil {
		return netip.Addr{}, err
	}
	if a, ok := listed(c, role, all); ok {
		return a, nil
	}
	if c.Interface != "" {
		if some, err := localAddresses(c.Interface); err == nil && len(some) > 0 {
			return some[0], nil
		}
	}
	for _, a := range all {
		if a.IsPrivate() {
			return a, nil
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
}

// listed finds the only entry of server_list that is this host.
func listed(c *config.Config, role string, all []netip.Addr) (netip.Addr, bool) {
	var found netip.Addr
	if role != "meta" {
		return found, false
	}
	for _, m := range c.Metas {
		for _, a := range all {
			if m.Addr() != a || int(m.Port()) != c.Ports["meta"] {
				continue
			}
			if found.IsValid() {
				return found, false
			}
			found = a
		}
	}
	return found, found.IsValid()
}

// localAddresses are the IPv4 addresses of an interface, "" meaning all.
func localAddresses(name string) ([]netip.Addr, error) {
	var raw []net.Addr
	var err error
	if name == "" {
		raw, err = net.InterfaceAddrs()
	} else if nic, e := net.InterfaceByName(name); e == nil {
		raw, err = nic.Addrs()
	}
	var out []netip.Addr
	for _, r := range raw {
		if p, err := netip.ParsePrefix(r.String()); err == nil && p.Addr().Is4() {
			out = append(out, p.Addr())
		}
	}
	return out, err
}
