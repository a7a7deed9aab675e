package system

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// record is one line of a file of accounts, by its fields.
type record []string

// at is a field, empty where the line ends before it.
func (r record) at(i int) string {
	if i >= len(r) {
		return ""
	}
	return r[i]
}

// id is the number that passwd and group keep in their third field.
func (r record) id() int {
	id, err := strconv.Atoi(r.at(2))
	if err != nil {
		return -1
	}
	return id
}

// Fields of passwd(5), group(5) and shadow(5).
const (
	passwdGroup, passwdComment, passwdHome, passwdShell             = 3, 4, 5, 6
	groupMembers                                                    = 3
	shadowPassword, shadowMinimum, shadowMaximum, shadowExpires int = 1, 3, 4, 7
)

// table is a file of accounts.
type table struct {
	path    string
	there   bool
	content string
	records []record
}

func readTable(f modules.File) *table {
	t := &table{path: f.Path, there: f.Kind == modules.Regular, content: string(f.Content)}
	for line := range strings.Lines(t.content) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			t.records = append(t.records, strings.Split(line, ":"))
		}
	}
	return t
}

// find gives the record of a name; nil where there is none.
func (t *table) find(name string) record {
	i := slices.IndexFunc(t.records, func(r record) bool { return r[0] == name })
	if i < 0 {
		return nil
	}
	return t.records[i]
}

// byID gives the first record of a number.
func (t *table) byID(id int) record {
	i := slices.IndexFunc(t.records, func(r record) bool { return r.id() == id })
	if i < 0 {
		return nil
	}
	return t.records[i]
}

// put adds a record, or replaces the one of its name.
func (t *table) put(r record) {
	if i := slices.IndexFunc(t.records, func(old record) bool { return old[0] == r[0] }); i >= 0 {
		t.records[i] = r
		return
	}
	t.records = append(t.records, r)
}

func (t *table) remove(name string) {
	t.records = slices.DeleteFunc(t.records, func(r record) bool { return r[0] == name })
}

// leaves is the change that stands for what a command does to the file; none where that is nothing.
func (t *table) leaves() []modules.Change {
	var b strings.Builder
	for _, r := range t.records {
		b.WriteString(strings.Join(r, ":") + "\n")
	}
	if !t.there || b.String() == t.content {
		return nil
	}
	return []modules.Change{{Kind: modules.WriteFile, Path: t.path, Content: modules.Bytes(t.path, []byte(b.String()))}}
}

// accounts is what a host knows of users and groups.
type accounts struct {
	passwd, group, shadow *table
	defs, useradd, names  map[string]string
}

// accountFiles are what accounts are read from; shadow only for root to read, so only where it matters.
func accountFiles(shadow bool) []modules.Query {
	paths := []string{"/etc/passwd", "/etc/group", "/etc/login.defs", "/etc/default/useradd", "/etc/nsswitch.conf"}
	if shadow {
		paths = append(paths, "/etc/shadow")
	}
	queries := make([]modules.Query, len(paths))
	for i, p := range paths {
		queries[i] = modules.Query{Path: p, Follow: true, Content: 4 << 20}
	}
	return queries
}

// readAccounts reads the answers to accountFiles.
func readAccounts(files []modules.File) *accounts {
	a := &accounts{passwd: readTable(files[0]), group: readTable(files[1]), shadow: &table{},
		defs: settings(files[2], " \t"), useradd: settings(files[3], "="), names: settings(files[4], ":")}
	if len(files) > 5 {
		a.shadow = readTable(files[5])
	}
	return a
}

// settings are the lines of a file of names and values.
func settings(f modules.File, separators string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(string(f.Content)) {
		line = strings.TrimSpace(line)
		if i := strings.IndexAny(line, separators); i > 0 && line[0] != '#' {
			values[strings.TrimSpace(line[:i])] = strings.TrimSpace(line[i+1:])
		}
	}
	return values
}

// number is one of login.defs, or what it is without.
func (a *accounts) number(name string, without int) int {
	if n, err := strconv.Atoi(a.defs[name]); err == nil {
		return n
	}
	return without
}

// elsewhere asks a directory service (LDAP and the like) for an account that no file has, where the host
// uses one: nsswitch.conf says so. That is a round trip of its own.
func (a *accounts) elsewhere(ctx context.Context, host modules.Host, database, name string) (record, error) {
	sources := strings.Fields(a.names[database])
	if !slices.ContainsFunc(sources, func(s string) bool {
		return !slices.Contains([]string{"files", "compat", "systemd", "altfiles", "db"}, s) && s[0] != '['
	}) {
		return nil, nil
	}
	out, err := host.Run(ctx, modules.Command{Argv: []string{"getent", database, name}, ReadOnly: true})
	var exit *modules.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode == 2: // no such name
		return nil, nil
	case err != nil:
		return nil, err
	}
	line, _, _ := strings.Cut(string(out.Stdout), "\n")
	return strings.Split(line, ":"), nil
}

// groupOf finds a group by name or number, as a task writes it.
func (a *accounts) groupOf(ctx context.Context, host modules.Host, who string) (record, error) {
	if id, err := strconv.Atoi(who); err == nil {
		if r := a.group.byID(id); r != nil {
			return r, nil
		}
	}
	if r := a.group.find(who); r != nil {
		return r, nil
	}
	r, err := a.elsewhere(ctx, host, "group", who)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, fmt.Errorf("there is no group %s on the host; make it with a task of group before", who)
	}
	return r, nil
}

// newID is the number that useradd and groupadd give next: above all there are, or for the system's own
// accounts below them. want is taken where it is free.
func (a *accounts) newID(t *table, kind string, system bool, want int) int {
	least, most := a.number(kind+"_MIN", 1000), a.number(kind+"_MAX", 60000)
	if system {
		least, most = a.number("SYS_"+kind+"_MIN", 101), a.number("SYS_"+kind+"_MAX", least-1)
	}
	used := map[int]bool{}
	low, high := most+1, least-1
	for _, r := range t.records {
		if id := r.id(); id >= least && id <= most {
			used[id] = true
			low, high = min(low, id), max(high, id)
		}
	}
	switch {
	case want >= least && want <= most && !used[want]:
		return want
	case system && low > least:
		return low - 1
	case !system && high < most:
		return high + 1
	}
	for id := least; id <= most; id++ {
		if !used[id] {
			return id
		}
	}
	return most + 1
}
