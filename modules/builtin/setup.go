package builtin

import (
	"context"
	"encoding/json"
	"fmt"
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

gather_subset also takes the name of a part, such as distribution or mounts, and then gathers the subset that
the part belongs to. Files of fact_path that end in .fact (JSON, INI, or programs that print one of these)
become ansible_local.

    - name: only what is needed
      setup:
        gather_subset: [network]
        filter: ansible_*ipv4*`, proposeSetup)
}

type setupArgs struct {
	Subset []string `arg:"gather_subset" default:"all" choices:"all,min,hardware,network,virtual,!all,!min,!hardware,!network,!virtual,platform,distribution,date_time,env,user,local,pkg_mgr,service_mgr,dns,cmdline,lsb,selinux,apparmor,fips,ssh_pub_keys,devices,mounts,interfaces,default_ipv4,default_ipv6,virtualization_type" doc:"which facts, or with ! which not; min is always there but with !min"`
	Path   string   `arg:"fact_path,path" default:"/etc/ansible/facts.d" doc:"folder of the host's own facts"`
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
	if slices.Contains(a.Subset, subset) || slices.Contains(a.Subset, "all") || slices.ContainsFunc(a.Subset, func(part string) bool { return subsetOf(part) == subset }) {
		return true
	}
	// Only exclusions: everything that is not excluded.
	return !slices.Contains(a.Subset, "!all") && !slices.ContainsFunc(a.Subset, func(s string) bool { return !strings.HasPrefix(s, "!") })
}

// subsetOf is the subset that a part of the facts belongs to; empty for what is no part.
func subsetOf(part string) string {
	switch part {
	case "devices", "mounts":
		return "hardware"
	case "interfaces", "default_ipv4", "default_ipv6":
		return "network"
	case "virtualization_type":
		return "virtual"
	}
	return "" // of the others min is the subset, which is there anyway
}

// facts collects values by Ansible's names, without the prefix.
type facts map[string]json.RawMessage

func set[T any](f facts, name string, value T) {
	f[name] = encoded(value)
}

func encoded(value any) json.RawMessage {
	raw, err := json.Marshal(value)
	if err != nil {
		panic("builtin: fact: " + err.Error())
	}
	return raw
}

// kernelFiles are what one look reads.
func kernelFiles() []modules.Query {
	var queries []modules.Query
	for _, p := range []string{"/etc/os-release", "/proc/cpuinfo", "/proc/meminfo", "/proc/mounts", "/proc/uptime",
		"/proc/net/route", "/proc/net/ipv6_route", "/proc/net/fib_trie", "/proc/net/if_inet6", "/proc/1/comm",
		"/proc/cmdline", "/proc/loadavg", "/etc/resolv.conf", "/etc/machine-id", "/etc/debian_version"} {
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
get() { v=; [ -r "$1" ] && IFS= read -r v <"$1"; }
for d in /sys/class/net/*; do
  n=${d##*/}; [ "$n" = '*' ] && continue
  get "$d/mtu"; l="$n $v"; get "$d/operstate"; l="$l $v"; get "$d/address"; echo "nic $l $v"
done
while read -r d m t rest; do case $d in /*|*:/*) echo "fs $(stat -f -c '%S %b %a %c %d' "$(printf '%b' "$m")") $m";; esac; done </proc/mounts
for u in /dev/disk/by-uuid/*; do [ -e "$u" ] && echo "uuid ${u##*/} $(readlink -f "$u")"; done
for b in /sys/block/*; do
  n=${b##*/}; case $n in loop*|ram*|'*') continue;; esac
  get $b/size; l="$n $v"; get $b/queue/logical_block_size; l="$l $v"; get $b/queue/rotational; l="$l $v"; get $b/removable; l="$l $v"
  get $b/device/model; echo "disk $l $v"
  for p in $b/$n*; do [ -e "$p/partition" ] && { get $p/start; l="$n ${p##*/} $v"; get $p/size; echo "part $l $v"; }; done
done
for k in bios_date bios_vendor bios_version board_name board_serial board_vendor board_version chassis_serial chassis_vendor chassis_version product_name product_serial product_uuid product_version sys_vendor; do
  get /sys/class/dmi/id/$k; echo "dmi $k $v"
done
for k in dsa rsa ecdsa ed25519; do get /etc/ssh/ssh_host_${k}_key.pub; [ -n "$v" ] && echo "hostkey $k $v"; done
for p in apt-get:apt dnf5:dnf5 dnf:dnf yum:yum zypper:zypper pacman:pacman apk:apk; do
  [ -x /usr/bin/${p%%:*} ] || [ -x /sbin/${p%%:*} ] && { echo "pkg_mgr ${p##*:}"; break; }
done
get /sys/fs/selinux/enforce; echo "selinux $v"; [ -d /sys/kernel/security/apparmor ] && echo "apparmor 1"
get /proc/sys/crypto/fips_enabled; echo "fips $v"; echo "bits $(getconf LONG_BIT)"
for f in "$1"/*.fact; do
  [ -f "$f" ] || continue
  n=${f##*/}; if [ -x "$f" ]; then c=$("$f" </dev/null); else c=$(cat "$f"); fi
  echo "fact ${n%.fact} $(printf '%s' "$c" | base64 | tr -d '\n')"
done
env -0 | tr '\n\0' ' \n' | sed 's/^/env /'
true`

func proposeSetup(ctx context.Context, call *modules.Call, args setupArgs) (*modules.Proposal, error) {
	queries := kernelFiles()
	files, err := call.Host.Look(ctx, queries...)
	if err != nil {
		return nil, err
	}
	asked := time.Now()
	out, err := call.Host.Run(ctx, modules.Command{Argv: []string{"/bin/sh", "-c", probe, "sh", args.Path}, ReadOnly: true})
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
		moreFacts(f, text, said)
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
	all := args.filtered(f)
	if len(args.Filter) == 0 {
		all["gather_subset"], all["module_setup"] = encoded(args.Subset), json.RawMessage("true")
	}
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
	bits := first(said, "bits")
	if bits == "" {
		bits = "32"
		if strings.Contains(first(said, "machine"), "64") {
			bits = "64"
		}
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
	release := osRelease(text["/etc/os-release"])
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

// osRelease reads the names and values of os-release.
func osRelease(text string) map[string]string {
	release := map[string]string{}
	for line := range strings.SplitSeq(text, "\n") {
		if key, value, ok := strings.Cut(line, "="); ok {
			release[key] = strings.Trim(value, `"'`)
		}
	}
	return release
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
	cpus, cores, siblings, sockets := 0, 1, 1, map[string]bool{}
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
			if n, err := strconv.Atoi(value); err == nil && n > 0 {
				cores = n
			}
		case "siblings":
			siblings, _ = strconv.Atoi(value)
		}
		if key = strings.TrimSpace(key); key == "processor" || key == "vendor_id" || key == "model name" {
			models = append(models, value)
		}
	}
	set(f, "processor", models)
	set(f, "processor_threads_per_core", max(siblings/cores, 1))
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
	memoryFact(f, memory)
	deviceFacts(f, said)
	machineFacts(f, said)
	up, _, _ := strings.Cut(text["/proc/uptime"], ".")
	seconds, _ := strconv.ParseInt(up, 10, 64)
	set(f, "uptime_seconds", seconds)
	set(f, "mounts", mounts(text["/proc/mounts"], said))
}

// mount is one file system, with Ansible's names.
type mount struct {
	Mount          string `json:"mount"`
	Device         string `json:"device"`
	FSType         string `json:"fstype"`
	Options        string `json:"options"`
	UUID           string `json:"uuid"`
	SizeTotal      int64  `json:"size_total"`
	SizeAvailable  int64  `json:"size_available"`
	BlockSize      int64  `json:"block_size"`
	BlockTotal     int64  `json:"block_total"`
	BlockAvailable int64  `json:"block_available"`
	BlockUsed      int64  `json:"block_used"`
	InodeTotal     int64  `json:"inode_total"`
	InodeAvailable int64  `json:"inode_available"`
	InodeUsed      int64  `json:"inode_used"`
}

// mounts are the file systems on devices and servers, with stat's sizes where it gives them.
func mounts(table string, said map[string][]string) []mount {
	sizes := map[string][5]int64{}
	for _, line := range said["fs"] {
		fields := strings.Fields(line)
		if len(fields) != 6 {
			continue
		}
		var n [5]int64
		for i := range n {
			n[i], _ = strconv.ParseInt(fields[i], 10, 64)
		}
		sizes[fields[5]] = n
	}
	uuids := map[string]string{}
	for _, line := range said["uuid"] {
		if uuid, device, ok := strings.Cut(line, " "); ok {
			uuids[device] = uuid
		}
	}
	all := []mount{}
	for line := range strings.SplitSeq(table, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 4 || (!strings.HasPrefix(fields[0], "/") && !strings.Contains(fields[0], ":/") && fields[1] != "/") {
			continue
		}
		n := sizes[fields[1]]
		m := mount{Mount: strings.NewReplacer(`\040`, " ", `\011`, "\t").Replace(fields[1]), Device: fields[0], FSType: fields[2], Options: fields[3],
			UUID: "N/A", SizeTotal: n[0] * n[1], SizeAvailable: n[0] * n[2], BlockSize: n[0], BlockTotal: n[1], BlockAvailable: n[2],
			BlockUsed: n[1] - n[2], InodeTotal: n[3], InodeAvailable: n[4], InodeUsed: n[3] - n[4]}
		if uuid, ok := uuids[m.Device]; ok {
			m.UUID = uuid
		}
		all = append(all, m)
	}
	return all
}
