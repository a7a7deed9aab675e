package builtin

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ipv4 is an address of an interface, with Ansible's names.
type ipv4 struct {
	Address    string `json:"address"`
	Broadcast  string `json:"broadcast"`
	Interface  string `json:"interface,omitempty"`
	Alias      string `json:"alias,omitempty"`
	Gateway    string `json:"gateway,omitempty"`
	Netmask    string `json:"netmask,omitempty"`
	Network    string `json:"network,omitempty"`
	Prefix     string `json:"prefix,omitempty"`
	MACAddress string `json:"macaddress,omitempty"`
	MTU        int    `json:"mtu,omitempty"`
	Type       string `json:"type,omitempty"`
}

// nic is what the interface's own fact, such as ansible_eth0, holds.
type nic struct {
	Device     string `json:"device"`
	Active     bool   `json:"active"`
	MTU        int    `json:"mtu"`
	MACAddress string `json:"macaddress,omitempty"`
	Type       string `json:"type"`
	IPv4       *ipv4  `json:"ipv4,omitempty"`
	// Others are more addresses of it.
	Others []*ipv4 `json:"ipv4_secondaries,omitempty"`
	IPv6   []ipv6  `json:"ipv6,omitempty"`
}

// ipv6 is an address of IPv6 of an interface.
type ipv6 struct {
	Address    string `json:"address,omitempty"`
	Prefix     string `json:"prefix,omitempty"`
	Scope      string `json:"scope,omitempty"`
	Gateway    string `json:"gateway,omitempty"`
	Interface  string `json:"interface,omitempty"`
	MACAddress string `json:"macaddress,omitempty"`
	MTU        int    `json:"mtu,omitempty"`
	Type       string `json:"type,omitempty"`
}

func networkFacts(f facts, text map[string]string, said map[string][]string) {
	routes := readRoutes(text["/proc/net/route"])
	addresses := localAddresses(text["/proc/net/fib_trie"])
	names := []string{}
	nics := map[string]*nic{}
	for _, line := range said["nic"] {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		mtu, _ := strconv.Atoi(fields[1])
		n := &nic{Device: fields[0], MTU: mtu, Active: fields[2] == "up" || fields[2] == "unknown", Type: "ether"}
		if len(fields) > 3 {
			n.MACAddress = fields[3]
		}
		if n.Device == "lo" {
			n.Type, n.MACAddress = "loopback", ""
		}
		names = append(names, n.Device)
		nics[n.Device] = n
	}
	all := []string{}
	for _, a := range addresses {
		if !a.IsLoopback() {
			all = append(all, a.String())
		}
		for _, r := range routes {
			n := nics[r.device]
			if n == nil || r.net.Bits() == 0 || !r.net.Contains(a) {
				continue
			}
			if n.IPv4 == nil {
				n.IPv4 = r.describe(a)
			} else {
				n.Others = append(n.Others, r.describe(a))
			}
			break
		}
	}
	if lo := nics["lo"]; lo != nil && slices.Contains(addresses, netip.AddrFrom4([4]byte{127, 0, 0, 1})) {
		lo.IPv4 = &ipv4{Address: "127.0.0.1", Netmask: "255.0.0.0", Network: "127.0.0.0", Prefix: "8"}
	}
	six := inet6(text["/proc/net/if_inet6"], nics)
	set(f, "interfaces", names)
	set(f, "all_ipv4_addresses", all)
	set(f, "all_ipv6_addresses", six)
	for _, n := range nics {
		set(f, strings.NewReplacer("-", "_", ".", "_", ":", "_").Replace(n.Device), n)
	}
	set(f, "default_ipv4", defaultAddress(routes, nics))
	set(f, "default_ipv6", defaultAddress6(text["/proc/net/ipv6_route"], nics))
}

// defaultAddress is the address that connections to elsewhere come from; empty where there is no
// default route.
func defaultAddress(routes []route, nics map[string]*nic) *ipv4 {
	var best *route
	for i, r := range routes {
		if r.net.Bits() == 0 && (best == nil || r.metric < best.metric) {
			best = &routes[i]
		}
	}
	if best == nil || nics[best.device] == nil || nics[best.device].IPv4 == nil {
		return &ipv4{}
	}
	n := nics[best.device]
	a := *n.IPv4
	a.Interface, a.Alias, a.Gateway, a.MACAddress, a.MTU, a.Type = n.Device, n.Device, best.gateway.String(), n.MACAddress, n.MTU, n.Type
	return &a
}

// route is a line of /proc/net/route.
type route struct {
	device  string
	net     netip.Prefix
	gateway netip.Addr
	metric  int
}

func (r route) describe(a netip.Addr) *ipv4 {
	mask := ^uint32(0) << (32 - r.net.Bits())
	four := func(n uint32) string {
		return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}).String()
	}
	to := r.net.Addr().As4()
	last := binary.BigEndian.Uint32(to[:]) | ^mask
	return &ipv4{Address: a.String(), Network: r.net.Addr().String(), Prefix: strconv.Itoa(r.net.Bits()), Netmask: four(mask), Broadcast: four(last)}
}

func readRoutes(table string) []route {
	var routes []route
	for line := range strings.SplitSeq(table, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 8 {
			continue
		}
		to, ok1 := kernelAddress(fields[1])
		gateway, ok2 := kernelAddress(fields[2])
		mask, ok3 := kernelAddress(fields[7])
		metric, err := strconv.Atoi(fields[6])
		if !ok1 || !ok2 || !ok3 || err != nil {
			continue // the heading
		}
		bits := 0
		for _, b := range mask.AsSlice() {
			for ; b&0x80 != 0; b <<= 1 {
				bits++
			}
		}
		routes = append(routes, route{device: fields[0], net: netip.PrefixFrom(to, bits), gateway: gateway, metric: metric})
	}
	return routes
}

// localAddresses finds the host's own addresses in the routing trie: each stands above a line that says
// "/32 host LOCAL".
func localAddresses(trie string) []netip.Addr {
	var all []netip.Addr
	var last netip.Addr
	lines := bufio.NewScanner(strings.NewReader(trie))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if rest, ok := strings.CutPrefix(line, "|-- "); ok {
			last, _ = netip.ParseAddr(rest)
			continue
		}
		if line == "/32 host LOCAL" && last.IsValid() && !slices.Contains(all, last) {
			all = append(all, last)
		}
	}
	return all
}

// inet6 reads the table of addresses of IPv6, gives them to their interfaces, and lists those that are not
// the loopback's.
func inet6(table string, nics map[string]*nic) []string {
	all := []string{}
	for line := range strings.SplitSeq(table, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 6 {
			continue
		}
		a, ok := address6(fields[0])
		bits, err := strconv.ParseUint(fields[2], 16, 8)
		if !ok || err != nil {
			continue
		}
		scope := map[string]string{"00": "global", "10": "host", "20": "link", "40": "site"}[fields[3]]
		if n := nics[fields[5]]; n != nil {
			n.IPv6 = append(n.IPv6, ipv6{Address: a.String(), Prefix: strconv.FormatUint(bits, 10), Scope: scope})
		}
		if fields[5] != "lo" {
			all = append(all, a.String())
		}
	}
	return all
}

// address6 reads 32 hexadecimal digits.
func address6(digits string) (netip.Addr, bool) {
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != 16 {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(raw)
}

// defaultAddress6 is the address of IPv6 that connections to elsewhere come from; empty where there is no
// default route.
func defaultAddress6(table string, nics map[string]*nic) ipv6 {
	var best ipv6
	least := uint64(1 << 32)
	for line := range strings.SplitSeq(table, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 10 || fields[1] != "00" || nics[fields[9]] == nil {
			continue
		}
		gateway, ok := address6(fields[4])
		metric, err := strconv.ParseUint(fields[5], 16, 32)
		if !ok || err != nil || gateway.IsUnspecified() || metric >= least {
			continue
		}
		n := nics[fields[9]]
		i := slices.IndexFunc(n.IPv6, func(a ipv6) bool { return a.Scope == "global" })
		if i < 0 {
			continue
		}
		least, best = metric, n.IPv6[i]
		best.Gateway, best.Interface, best.MACAddress, best.MTU, best.Type = gateway.String(), n.Device, n.MACAddress, n.MTU, n.Type
	}
	return best
}
