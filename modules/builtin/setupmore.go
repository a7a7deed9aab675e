package builtin

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// status is how Ansible says that something is on or off.
type status struct {
	Status string `json:"status"`
	Mode   string `json:"mode,omitempty"`
}

// moreFacts are those of the smallest subset that stand for themselves.
func moreFacts(f facts, text map[string]string, said map[string][]string) {
	manager := first(said, "pkg_mgr")
	if manager == "" {
		manager = "unknown"
	}
	set(f, "pkg_mgr", manager)
	set(f, "userspace_architecture", first(said, "machine"))
	line := kernelLine(text["/proc/cmdline"])
	set(f, "cmdline", line)
	set(f, "proc_cmdline", line)
	set(f, "fips", first(said, "fips") == "1")
	set(f, "dns", resolver(text["/etc/resolv.conf"]))
	set(f, "lsb", lsb(text["/etc/os-release"]))
	selinux := status{Status: "disabled"}
	switch first(said, "selinux") {
	case "0":
		selinux = status{"enabled", "permissive"}
	case "1":
		selinux = status{"enabled", "enforcing"}
	}
	set(f, "selinux", selinux)
	apparmor := status{Status: "disabled"}
	if first(said, "apparmor") != "" {
		apparmor.Status = "enabled"
	}
	set(f, "apparmor", apparmor)
	for _, key := range said["hostkey"] {
		if fields := strings.Fields(key); len(fields) > 2 {
			set(f, "ssh_host_key_"+fields[0]+"_public", fields[2])
			set(f, "ssh_host_key_"+fields[0]+"_public_keytype", fields[1])
		}
	}
	load := map[string]float64{}
	for i, field := range strings.Fields(text["/proc/loadavg"]) {
		if n, err := strconv.ParseFloat(field, 64); err == nil && i < 3 && !math.IsNaN(n) && !math.IsInf(n, 0) {
			load[[]string{"1m", "5m", "15m"}[i]] = n
		}
	}
	set(f, "loadavg", load)
	set(f, "local", localFacts(said["fact"]))
}

// kernelLine is the kernel's command line: what has no value is true.
func kernelLine(text string) map[string]json.RawMessage {
	values := map[string]json.RawMessage{}
	for _, word := range strings.Fields(text) {
		name, value, ok := strings.Cut(word, "=")
		if values[name] = encoded(value); !ok {
			values[name] = encoded(true)
		}
	}
	return values
}

// dns is what resolv.conf says.
type dns struct {
	Nameservers []string                   `json:"nameservers,omitempty"`
	Domain      string                     `json:"domain,omitempty"`
	Search      []string                   `json:"search,omitempty"`
	Options     map[string]json.RawMessage `json:"options,omitempty"`
}

func resolver(text string) dns {
	var d dns
	for line := range strings.SplitSeq(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			d.Nameservers = append(d.Nameservers, fields[1])
		case "domain":
			d.Domain = fields[1]
		case "search":
			d.Search = fields[1:]
		case "options":
			d.Options = map[string]json.RawMessage{}
			for _, option := range fields[1:] {
				name, value, ok := strings.Cut(option, ":")
				if d.Options[name] = encoded(value); !ok {
					d.Options[name] = encoded(true)
				}
			}
		}
	}
	return d
}

// lsb is what lsb_release would print; os-release says the same.
func lsb(text string) map[string]string {
	release := osRelease(text)
	version := release["VERSION_ID"]
	major, _, _ := strings.Cut(version, ".")
	name := strings.Fields(release["NAME"] + " ")
	if len(name) == 0 {
		return map[string]string{}
	}
	return map[string]string{"id": name[0], "codename": release["VERSION_CODENAME"], "description": release["PRETTY_NAME"],
		"release": version, "major_release": major}
}

// localFacts are the files of facts that somebody put on the host: JSON, or else INI.
func localFacts(said []string) map[string]json.RawMessage {
	all := map[string]json.RawMessage{}
	for _, line := range said {
		name, packed, _ := strings.Cut(line, " ")
		raw, err := base64.StdEncoding.DecodeString(packed)
		switch {
		case err != nil:
		case json.Valid(raw):
			all[name] = raw
		default:
			all[name] = encoded(localINI(string(raw)))
		}
	}
	return all
}

// localINI reads sections of names and values; names are in lower case, as Ansible's reader makes them.
func localINI(text string) map[string]map[string]string {
	sections, in := map[string]map[string]string{}, ""
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			in = line[1 : len(line)-1]
			sections[in] = map[string]string{}
			continue
		}
		i := strings.IndexAny(line, "=:")
		if i > 0 && in != "" && line[0] != '#' && line[0] != ';' {
			sections[in][strings.ToLower(strings.TrimSpace(line[:i]))] = strings.TrimSpace(line[i+1:])
		}
	}
	return sections
}

// memory is ansible_memory_mb.
type memory struct {
	Real struct {
		Total int64 `json:"total"`
		Used  int64 `json:"used"`
		Free  int64 `json:"free"`
	} `json:"real"`
	NoCache struct {
		Free int64 `json:"free"`
		Used int64 `json:"used"`
	} `json:"nocache"`
	Swap struct {
		Total  int64 `json:"total"`
		Free   int64 `json:"free"`
		Used   int64 `json:"used"`
		Cached int64 `json:"cached"`
	} `json:"swap"`
}

func memoryFact(f facts, mb map[string]int64) {
	var m memory
	m.Real.Total, m.Real.Free, m.Real.Used = mb["MemTotal"], mb["MemFree"], mb["MemTotal"]-mb["MemFree"]
	m.NoCache.Free = mb["MemFree"] + mb["Cached"] + mb["Buffers"]
	m.NoCache.Used = mb["MemTotal"] - m.NoCache.Free
	m.Swap.Total, m.Swap.Free, m.Swap.Used, m.Swap.Cached = mb["SwapTotal"], mb["SwapFree"], mb["SwapTotal"]-mb["SwapFree"], mb["SwapCached"]
	set(f, "memory_mb", m)
}

// device is one of ansible_devices.
type device struct {
	Model      string               `json:"model,omitempty"`
	Removable  string               `json:"removable"`
	Rotational string               `json:"rotational"`
	Sectors    int64                `json:"sectors"`
	SectorSize int64                `json:"sectorsize"`
	Size       string               `json:"size"`
	Partitions map[string]partition `json:"partitions"`
}

// partition is a part of a device.
type partition struct {
	Start      string `json:"start"`
	Sectors    int64  `json:"sectors"`
	SectorSize int64  `json:"sectorsize"`
	Size       string `json:"size"`
}

// deviceFacts are the disks. The kernel counts them in sectors of 512 bytes, whatever their own are.
func deviceFacts(f facts, said map[string][]string) {
	devices := map[string]device{}
	for _, line := range said["disk"] {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		sectors, _ := strconv.ParseInt(fields[1], 10, 64)
		size, _ := strconv.ParseInt(fields[2], 10, 64)
		devices[fields[0]] = device{Model: strings.Join(fields[5:], " "), Removable: fields[4], Rotational: fields[3], Sectors: sectors,
			SectorSize: size, Size: readableSize(sectors * 512), Partitions: map[string]partition{}}
	}
	for _, line := range said["part"] {
		fields := strings.Fields(line)
		if len(fields) < 4 || devices[fields[0]].Partitions == nil {
			continue
		}
		sectors, _ := strconv.ParseInt(fields[3], 10, 64)
		devices[fields[0]].Partitions[fields[1]] = partition{Start: fields[2], Sectors: sectors, SectorSize: devices[fields[0]].SectorSize,
			Size: readableSize(sectors * 512)}
	}
	set(f, "devices", devices)
}

// readableSize is a size as Ansible writes it: 1.50 GB.
func readableSize(bytes int64) string {
	for _, unit := range []struct {
		name  string
		shift uint
	}{{"TB", 40}, {"GB", 30}, {"MB", 20}, {"KB", 10}} {
		if bytes >= 1<<unit.shift {
			return fmt.Sprintf("%.2f %s", float64(bytes)/float64(int64(1)<<unit.shift), unit.name)
		}
	}
	return fmt.Sprintf("%d.00 Bytes", bytes)
}

// machineFacts are what the firmware says of the machine; NA where it says nothing, or not to this user.
func machineFacts(f facts, said map[string][]string) {
	for _, line := range said["dmi"] {
		name, value, _ := strings.Cut(line, " ")
		if name == "sys_vendor" {
			name = "system_vendor"
		}
		if slices.Contains([]string{"", "None", "Not Specified"}, value) {
			value = "NA"
		}
		set(f, name, value)
	}
}
