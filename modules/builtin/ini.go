package builtin

import (
	"fmt"
	"net/netip"
	"path"
	"strings"
)

// entry is one line of an ini file, as Pegasus reads them.
type entry struct {
	section, key, value, at string
}

// parseINI reads an ini file: sections in brackets, key = value, comments behind ; or #. Problems have
// their places.
func parseINI(name, text string) ([]entry, []string) {
	var entries []entry
	var problems []string
	section := ""
	seen := map[string]string{}
	number := 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		at := fmt.Sprintf("%s:%d", name, number)
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == ';' || line[0] == '#':
			continue
		case line[0] == '[':
			end := strings.IndexByte(line, ']')
			if end <= 1 {
				problems = append(problems, at+": a section has no name or no ]")
				continue
			}
			section = strings.TrimSpace(line[1:end])
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case !ok && key != "":
			// A name alone is a value too: older templates list their modules so.
			key, value = line, ""
		case key == "":
			problems = append(problems, at+": a value has no key")
			continue
		}
		if section == "" {
			problems = append(problems, fmt.Sprintf("%s: %s stands before the first section", at, key))
			continue
		}
		id := section + "\x00" + key
		if first, ok := seen[id]; ok {
			problems = append(problems, fmt.Sprintf("%s: [%s] %s is given already at %s", at, section, key, first))
			continue
		}
		seen[id] = at
		entries = append(entries, entry{section, key, value, at})
	}
	return entries, problems
}

// check looks at the values that stop a server from starting, or send it to the wrong place, when they
// are wrong. Empty: nothing to say.
func (e entry) check() string {
	switch e.section + "/" + e.key {
	case "meta_server/server_list", "zookeeper/hosts_list":
		if e.value == "" {
			return "the list is empty"
		}
		return checkServers(e.value)
	case "replication/data_dirs":
		return checkDataDirs(e.value)
	case "replication/slog_dir", "core/data_dir":
		if e.value != "" && !path.IsAbs(e.value) {
			return fmt.Sprintf("%s is a relative path; write an absolute one", e.value)
		}
	}
	if e.section == "pegasus.clusters" && e.value != "" && !strings.HasPrefix(e.value, "@") {
		return checkServers(e.value)
	}
	return ""
}

// checkServers wants ip1:port1,ip2:port2.
func checkServers(list string) string {
	seen := map[netip.AddrPort]bool{}
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		address, err := netip.ParseAddrPort(item)
		switch {
		case item == "":
			return "the list has an empty place; take the extra comma away"
		case err != nil:
			return fmt.Sprintf("%q is no ip:port; only IP addresses are taken here, no host names", item)
		case address.Port() == 0:
			return fmt.Sprintf("%q has no port", item)
		case seen[address]:
			return fmt.Sprintf("%s is there twice", item)
		}
		seen[address] = true
	}
	return ""
}

// checkDataDirs wants name1:path1,name2:path2 with names and paths all different; empty is allowed and
// means the application's folder.
func checkDataDirs(list string) string {
	if list == "" {
		return ""
	}
	names, dirs := map[string]bool{}, map[string]bool{}
	for item := range strings.SplitSeq(list, ",") {
		name, dir, ok := strings.Cut(strings.TrimSpace(item), ":")
		clean := path.Clean(dir)
		switch {
		case !ok || name == "" || dir == "" || strings.Contains(dir, ":"):
			return fmt.Sprintf("%q is no name:path", strings.TrimSpace(item))
		case !path.IsAbs(dir):
			return fmt.Sprintf("%q is a relative path; write an absolute one", dir)
		case names[name]:
			return fmt.Sprintf("the name %s is there twice", name)
		case dirs[clean]:
			return fmt.Sprintf("the path %s is there twice", clean)
		}
		names[name], dirs[clean] = true, true
	}
	return ""
}
