package builtin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// Setup gathers facts.
func Setup() *modules.Module {
	return modules.Define("setup", `Gather facts about a host

Sets ansible_hostname, ansible_distribution, ansible_default_ipv4, ansible_mounts, ansible_memtotal_mb and
others, with Ansible's names and meaning. It runs by itself where gather_facts is on. Facts about hardware
and networks come from the kernel's own files, so the host needs no program for them but a shell. One
fact is not Ansible's: ansible_clock_offset, the seconds that the host's clock is ahead of the control node's.

    - name: only what is needed
      setup:
        gather_subset: [network]
        filter: ansible_*ipv4*`, proposeSetup)
}

type setupArgs struct {
	Subset []string `arg:"gather_subset" default:"all" choices:"all,min,hardware,network,virtual,!all,!min,!hardware,!network,!virtual" doc:"which facts, or with ! which not; min is always there but with !min"`
	Filter []string `arg:"filter" doc:"patterns of the names to keep, with or without ansible_"`
}

// found is what setup registers.
type found struct {
	Facts map[string]json.RawMessage `json:"ansible_facts"`
}

// wants says whether a subset was asked for.
func (a setupArgs) wants(subset string) bool {
	if slices.Contains(a.Subset, "!"+subset) {
		return false
	}
	if subset == "min" {
		return !slices.Contains(a.Subset, "!all") || !slices.Contains(a.Subset, "!min")
	}
	if slices.Contains(a.Subset, subset) || slices.Contains(a.Subset, "all") {
		return true
	}
	// Only exclusions: everything that is not excluded.
	return !slices.Contains(a.Subset, "!all") && !slices.ContainsFunc(a.Subset, func(s string) bool { return !strings.HasPrefix(s, "!") })
}

// facts collects values by Ansible's names, without the prefix.
type facts map[string]json.RawMessage

func set[T any](f facts, name string, value T) {
	raw, err := json.Marshal(value)
	if err != nil {
		panic("builtin: fact " + name + ": " + err.Error())
	}
	f[name] = raw
}

// kernelFiles are what one look reads.
func kernelFiles() []modules.Query {
	var queries []modules.Query
	for _, p := range []string{"/etc/os-release", "/proc/cpuinfo", "/proc/meminfo", "/proc/mounts", "/proc/uptime",
		"/proc/net/route", "/proc/net/fib_trie", "/proc/net/if_inet6", "/proc/1/comm", "/etc/machine-id", "/etc/debian_version"} {
		queries = append(queries, modules.Query{Path: p, Follow: true, Content: 4 << 20})
	}
	return queries
}

// probe prints what no file says, as KEY VALUE lines. It is a constant and changes nothing.
const probe = `exec 2>/dev/null
echo "machine $(uname -m)"; echo "system $(uname -s)"; echo "kernel $(uname -r)"; echo "version $(uname -v)"
echo "node $(uname -n)"; echo "fqdn $(hostname -f || uname -n)"
echo "user_id $(id -un)"; echo "user_uid $(id -u)"; echo "user_gid $(id -g)"
echo "passwd $(getent passwd "$(id -u)")"; echo "date $(date +%s\ %Z\ %z)"; echo "utc $(date -u +%Y-%m-%dT%H:%M:%SZ)"
echo "local $(date +%Y-%m-%dT%H:%M:%S)"; echo "weekday $(date +%u\ %A)"; echo "virt $(systemd-detect-virt || true)"
[ -d /run/systemd/system ] && echo "systemd 1"
for d in /sys/class/net/*; do
  n=${d##*/}; [ "$n" = '*' ] || echo "nic $n $(cat "$d/mtu") $(cat "$d/operstate") $(cat "$d/address")"
done
df -lkP | sed 's/^/df /'
env | sed 's/^/env /' | grep -E '^env (HOME|LANG|PATH|SHELL|USER|LOGNAME|TZ)='
true`

func proposeSetup(ctx context.Context, call *modules.Call, args setupArgs) (*modules.Proposal, error) {
	queries := kernelFiles()
	files, err := call.Host.Look(ctx, queries...)
	if err != nil {
		return nil, err
	}
	asked := time.Now()
	out, err := call.Host.Run(ctx, modules.Command{Argv: []string{"/bin/sh", "-c", probe}, ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("gather facts: %w", err)
	}
	answered := time.Now()
	text := map[string]string{}
	for i, f := range files {
		text[queries[i].Path] = string(f.Content)
	}
	said := sayings(string(out.Stdout))
	f := facts{}
	if args.wants("min") {
		platformFacts(f, text, said)
		userFacts(f, said)
		dateFacts(f, said)
		clockFact(f, out, asked, answered)
	}
	if args.wants("hardware") {
		hardwareFacts(f, text, said)
	}
	if args.wants("network") {
		networkFacts(f, text, said)
	}
	if args.wants("virtual") {
		virtualFacts(f, said)
	}
	set(f, "gather_subset", args.Subset)
	all := args.filtered(f)
	return &modules.Proposal{Facts: all, FactRank: modules.RankFound, Output: found{all}}, nil
}

// filtered adds the prefix and keeps the names that a filter matches.
func (a setupArgs) filtered(f facts) map[string]json.RawMessage {
	all := map[string]json.RawMessage{}
	for name, value := range f {
		full := "ansible_" + name
		keep := len(a.Filter) == 0
		for _, pattern := range a.Filter {
			long, _ := path.Match(pattern, full)
			short, _ := path.Match(pattern, name)
			keep = keep || long || short
		}
		if keep {
			all[full] = value
		}
	}
	return all
}

// sayings are the probe's lines by key.
func sayings(out string) map[string][]string {
	said := map[string][]string{}
	for line := range strings.SplitSeq(out, "\n") {
		if key, value, ok := strings.Cut(line, " "); ok {
			said[key] = append(said[key], strings.TrimSpace(value))
		}
	}
	return said
}

func first(said map[string][]string, key string) string {
	if len(said[key]) == 0 {
		return ""
	}
	return said[key][0]
}

func platformFacts(f facts, text map[string]string, said map[string][]string) {
	node := first(said, "node")
	short, _, _ := strings.Cut(node, ".")
	fqdn := first(said, "fqdn")
	_, domain, _ := strings.Cut(fqdn, ".")
	set(f, "hostname", short)
	set(f, "nodename", node)
	set(f, "fqdn", fqdn)
	set(f, "domain", domain)
	set(f, "system", first(said, "system"))
	set(f, "kernel", first(said, "kernel"))
	set(f, "kernel_version", first(said, "version"))
	set(f, "machine", first(said, "machine"))
	set(f, "architecture", first(said, "machine"))
	bits := "32"
	if strings.Contains(first(said, "machine"), "64") {
		bits = "64"
	}
	set(f, "userspace_bits", bits)
	set(f, "machine_id", strings.TrimSpace(text["/etc/machine-id"]))
	manager := strings.TrimSpace(text["/proc/1/comm"])
	if first(said, "systemd") != "" {
		manager = "systemd"
	}
	set(f, "service_mgr", manager)
	distributionFacts(f, text)
	env := map[string]string{}
	for _, line := range said["env"] {
		if name, value, ok := strings.Cut(line, "="); ok {
			env[name] = value
		}
	}
	set(f, "env", env)
}

// distributionFacts reads os-release, with Ansible's spelling of the names.
func distributionFacts(f facts, text map[string]string) {
	release := map[string]string{}
	for line := range strings.SplitSeq(text["/etc/os-release"], "\n") {
		if key, value, ok := strings.Cut(line, "="); ok {
			release[key] = strings.Trim(value, `"'`)
		}
	}
	id := release["ID"]
	name, ok := map[string]string{"debian": "Debian", "ubuntu": "Ubuntu", "centos": "CentOS", "rhel": "RedHat", "fedora": "Fedora",
		"rocky": "Rocky", "almalinux": "AlmaLinux", "amzn": "Amazon", "ol": "OracleLinux", "opensuse-leap": "openSUSE Leap",
		"sles": "SLES", "arch": "Archlinux", "alpine": "Alpine", "anolis": "Anolis OS", "openEuler": "openEuler"}[id]
	if !ok {
		name = release["NAME"]
	}
	version := release["VERSION_ID"]
	if exact := strings.TrimSpace(text["/etc/debian_version"]); id == "debian" && strings.HasPrefix(exact, version+".") {
		version = exact
	}
	major, _, _ := strings.Cut(version, ".")
	set(f, "distribution", name)
	set(f, "distribution_version", version)
	set(f, "distribution_major_version", major)
	set(f, "distribution_release", release["VERSION_CODENAME"])
	set(f, "os_family", osFamily(id, release["ID_LIKE"]))
}

func osFamily(id, like string) string {
	for word := range strings.FieldsSeq(id + " " + like) {
		switch word {
		case "debian", "ubuntu":
			return "Debian"
		case "rhel", "fedora", "centos", "rocky", "almalinux", "amzn", "ol", "anolis", "openEuler":
			return "RedHat"
		case "suse", "sles", "opensuse":
			return "Suse"
		case "arch":
			return "Archlinux"
		case "alpine":
			return "Alpine"
		}
	}
	return id
}

func userFacts(f facts, said map[string][]string) {
	uid, _ := strconv.Atoi(first(said, "user_uid"))
	gid, _ := strconv.Atoi(first(said, "user_gid"))
	set(f, "user_id", first(said, "user_id"))
	set(f, "user_uid", uid)
	set(f, "user_gid", gid)
	set(f, "effective_user_id", uid)
	set(f, "effective_group_id", gid)
	set(f, "real_user_id", uid)
	set(f, "real_group_id", gid)
	fields := strings.Split(first(said, "passwd"), ":")
	if len(fields) >= 7 {
		set(f, "user_gecos", fields[4])
		set(f, "user_dir", fields[5])
		set(f, "user_shell", fields[6])
	}
}

func dateFacts(f facts, said map[string][]string) {
	when := strings.Fields(first(said, "date"))
	day := strings.Fields(first(said, "weekday"))
	local := first(said, "local")
	if len(when) != 3 || len(day) != 2 || len(local) != len("2006-01-02T15:04:05") {
		return
	}
	weekday, _ := strconv.Atoi(day[0])
	set(f, "date_time", map[string]string{
		"epoch": when[0], "epoch_int": when[0], "tz": when[1], "tz_offset": when[2], "iso8601": first(said, "utc"),
		"date": local[:10], "time": local[11:], "year": local[:4], "month": local[5:7], "day": local[8:10],
		"hour": local[11:13], "minute": local[14:16], "second": local[17:19],
		"weekday": day[1], "weekday_number": strconv.Itoa(weekday % 7),
		"iso8601_basic_short": strings.NewReplacer("-", "", ":", "").Replace(local),
	})
}

// clockFact is how far the host's clock is ahead of the control node's, in seconds, as exactly as the
// round trip allows. Ansible has no such fact; comparing date_time of hosts would compare the moments at
// which their turns came.
func clockFact(f facts, out modules.Output, asked, answered time.Time) {
	if out.Started.IsZero() || out.Ended.IsZero() {
		return
	}
	ahead := (out.Started.Sub(asked) + out.Ended.Sub(answered)) / 2
	set(f, "clock_offset", ahead.Round(time.Millisecond).Seconds())
}

func virtualFacts(f facts, said map[string][]string) {
	kind := first(said, "virt")
	role := "guest"
	if kind == "" || kind == "none" {
		kind, role = "NA", "NA"
	}
	set(f, "virtualization_type", kind)
	set(f, "virtualization_role", role)
}

func hardwareFacts(f facts, text map[string]string, said map[string][]string) {
	cpus, cores, sockets := 0, 1, map[string]bool{}
	var models []string
	for line := range strings.SplitSeq(text["/proc/cpuinfo"], "\n") {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "processor":
			cpus++
		case "physical id":
			sockets[value] = true
		case "cpu cores":
			if n, err := strconv.Atoi(value); err == nil {
				cores = n
			}
		case "model name":
			models = append(models, value)
		}
	}
	set(f, "processor", models)
	set(f, "processor_vcpus", cpus)
	set(f, "processor_nproc", cpus)
	set(f, "processor_cores", cores)
	set(f, "processor_count", max(len(sockets), 1))
	memory := map[string]int64{}
	for line := range strings.SplitSeq(text["/proc/meminfo"], "\n") {
		if fields := strings.Fields(line); len(fields) >= 2 {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			memory[strings.TrimSuffix(fields[0], ":")] = n / 1024
		}
	}
	set(f, "memtotal_mb", memory["MemTotal"])
	set(f, "memfree_mb", memory["MemFree"])
	set(f, "memavailable_mb", memory["MemAvailable"])
	set(f, "swaptotal_mb", memory["SwapTotal"])
	set(f, "swapfree_mb", memory["SwapFree"])
	up, _, _ := strings.Cut(text["/proc/uptime"], ".")
	seconds, _ := strconv.ParseInt(up, 10, 64)
	set(f, "uptime_seconds", seconds)
	set(f, "mounts", mounts(text["/proc/mounts"], said["df"]))
}

// mount is one file system, with Ansible's names.
type mount struct {
	Mount          string `json:"mount"`
	Device         string `json:"device"`
	FSType         string `json:"fstype"`
	Options        string `json:"options"`
	SizeTotal      int64  `json:"size_total"`
	SizeAvailable  int64  `json:"size_available"`
	BlockSize      int64  `json:"block_size"`
	BlockTotal     int64  `json:"block_total"`
	BlockAvailable int64  `json:"block_available"`
}

// mounts are the file systems on devices, with df's sizes where it gives them.
func mounts(table string, df []string) []mount {
	sizes := map[string][2]int64{}
	for _, line := range df {
		fields := strings.Fields(line)
		if len(fields) < 6 {
			continue
		}
		total, err1 := strconv.ParseInt(fields[1], 10, 64)
		free, err2 := strconv.ParseInt(fields[3], 10, 64)
		if err1 == nil && err2 == nil {
			sizes[strings.Join(fields[5:], " ")] = [2]int64{total * 1024, free * 1024}
		}
	}
	all := []mount{}
	for line := range strings.SplitSeq(table, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 4 || (!strings.HasPrefix(fields[0], "/") && fields[1] != "/") {
			continue
		}
		at := strings.NewReplacer(`\040`, " ", `\011`, "\t").Replace(fields[1])
		size := sizes[at]
		all = append(all, mount{Mount: at, Device: fields[0], FSType: fields[2], Options: fields[3], SizeTotal: size[0],
			SizeAvailable: size[1], BlockSize: 1024, BlockTotal: size[0] / 1024, BlockAvailable: size[1] / 1024})
	}
	return all
}

// ipv4 is an address of an interface, with Ansible's names.
type ipv4 struct {
	Address    string `json:"address"`
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
			if n := nics[r.device]; n != nil && n.IPv4 == nil && r.net.Bits() > 0 && r.net.Contains(a) {
				n.IPv4 = r.describe(a)
			}
		}
	}
	set(f, "interfaces", names)
	set(f, "all_ipv4_addresses", all)
	set(f, "all_ipv6_addresses", inet6(text["/proc/net/if_inet6"]))
	for _, n := range nics {
		set(f, strings.NewReplacer("-", "_", ".", "_", ":", "_").Replace(n.Device), n)
	}
	set(f, "default_ipv4", defaultAddress(routes, nics))
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
	return &ipv4{Address: a.String(), Network: r.net.Addr().String(), Prefix: strconv.Itoa(r.net.Bits()),
		Netmask: netip.AddrFrom4([4]byte{byte(mask >> 24), byte(mask >> 16), byte(mask >> 8), byte(mask)}).String()}
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

func inet6(table string) []string {
	all := []string{}
	for line := range strings.SplitSeq(table, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 6 || fields[5] == "lo" || len(fields[0]) != 32 {
			continue
		}
		var groups []string
		for i := 0; i < 32; i += 4 {
			groups = append(groups, fields[0][i:i+4])
		}
		if a, err := netip.ParseAddr(strings.Join(groups, ":")); err == nil {
			all = append(all, a.String())
		}
	}
	return all
}
