package runner

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// checkSpelling warns of variables that are defined and never used, when one slip makes another name of them that is
// used: what they are meant to set keeps its default, and no error says so.
func (a *analysis) checkSpelling() {
	used := make([]string, 0, len(a.all.used))
	for name := range a.all.used {
		used = append(used, name)
	}
	roles := a.roleNames()
	a.settable = map[string]bool{}
	for _, name := range roles {
		a.settable[name] = true
	}
	used = append(append(used, connectionNames()...), roles...)
	slices.Sort(used)
	a.all.looked = map[vars.Value]bool{}
	for _, h := range a.inv.Hosts() {
		a.spelling(h.Vars, used)
	}
	for _, b := range a.plan.playbooks {
		for _, p := range b.plays {
			a.spelling(p.Vars, used)
			for _, f := range p.VarsFiles {
				a.spelling(f.Values, used)
			}
		}
	}
	for _, r := range a.rows {
		for _, l := range r.layers {
			if l.layer != vars.RoleDefaults && l.layer != vars.RoleVars { // which other playbooks may use
				a.spelling(l.vars, used)
			}
		}
		a.spellingOf(r.task.Register, r.task.At, used)
		for _, f := range r.freeNames() {
			a.spellingOf(f.Name, f.At, used)
		}
	}
	a.spelling(a.plan.in.Extra, used)
	a.checkInventory()
}

// roleNames are the variables that roles give defaults for: settings, whether or not this playbook uses them.
func (a *analysis) roleNames() []string {
	var names []string
	for _, b := range a.plan.playbooks {
		for _, p := range b.plays {
			for _, l := range p.layers {
				names = append(names, l.vars.Names()...)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (a *analysis) spelling(vs *vars.Values, used []string) {
	for _, name := range vs.Names() {
		v, _ := vs.Get(name)
		if a.all.looked[v] {
			continue
		}
		a.all.looked[v] = true
		a.spellingOf(name, v.Position(), used)
	}
}

func (a *analysis) spellingOf(name string, at diag.Position, used []string) {
	if name == "" || a.all.used[name] || a.settable[name] || a.told[at] && at != (diag.Position{}) || slices.Contains(connectionNames(), name) {
		return
	}
	near := nearOne(name, used)
	if near == "" {
		return
	}
	a.told[at] = true
	a.problems.Warn(at, fmt.Sprintf("did you mean %q?", near), "nothing uses the variable %q", name)
}

// connectionNames are the variables that say how a host is reached, here or for Ansible.
func connectionNames() []string {
	return []string{"ansible_become", "ansible_become_exe", "ansible_become_flags", "ansible_become_method", "ansible_become_pass",
		"ansible_become_password", "ansible_become_user", "ansible_connection", "ansible_group_priority", "ansible_host", "ansible_host_key_accept_new",
		"ansible_host_key_checking", "ansible_password", "ansible_port", "ansible_private_key_file", "ansible_python_interpreter",
		"ansible_remote_tmp", "ansible_shell_executable", "ansible_shell_type", "ansible_ssh_args",
		"ansible_ssh_common_args", "ansible_ssh_config_file", "ansible_ssh_extra_args", "ansible_ssh_host", "ansible_ssh_host_key_checking",
		"ansible_ssh_known_hosts_file", "ansible_ssh_pass", "ansible_ssh_password", "ansible_ssh_port", "ansible_ssh_private_key_file",
		"ansible_ssh_proxy_jump", "ansible_ssh_retries", "ansible_ssh_timeout", "ansible_ssh_user", "ansible_sudo_pass", "ansible_timeout", "ansible_user"}
}

// checkPlayKeywords looks at what is evaluated before a play's first task.
func (a *analysis) checkPlayKeywords(p *play) {
	for _, k := range a.who {
		l := &look{analysis: a, r: &row{task: &playbook.Task{At: p.At, Dir: p.Dir}, frame: &frame{play: p}, keys: p.keys}, k: k, asked: map[string]bool{}, seen: map[seenUse]bool{}}
		l.s = a.scopeOf(k, l.r)
		l.sure = !k.nobody
		a.connection(l)
		if p.Confirm != nil {
			l.value(p.Confirm.Message)
			l.value(p.Confirm.Value)
		}
		for _, v := range p.Lock.Values() {
			l.value(v)
		}
	}
	a.tellMissing()
}

// connection looks at the variables that say how the hosts are reached.
func (a *analysis) connection(l *look) {
	for _, name := range connectionNames() {
		if v, _, ok := l.s.Written(name); ok && v.Templated() {
			l.value(v)
		}
	}
}

// checkInventory warns of what the inventory may call wrongly: hosts in no group and groups that no play names, when
// one slip makes of their names that of another which is grouped or named; and files of variables that are nobody's.
func (a *analysis) checkInventory() {
	var grouped []string
	for _, h := range a.inv.Hosts() {
		if !ungroupedHost(h) {
			grouped = append(grouped, h.Name)
		}
	}
	for _, h := range a.inv.Hosts() {
		if near := nearOne(h.Name, grouped); ungroupedHost(h) && near != "" {
			a.problems.Warn(diag.Position{File: a.inv.File(h.Name)}, fmt.Sprintf("did you mean %q?", near), "host %s is in no group", h.Name)
		}
	}
	named := a.namedGroups()
	for _, group := range a.inv.Groups() {
		near := nearName(group, slices.Sorted(maps.Keys(named)), 3)
		if _, there := a.inv.Group(near); near == "" || there || named[group] {
			continue
		}
		a.problems.Warn(diag.Position{File: a.fileOf(group)}, fmt.Sprintf("did you mean %q?", near), "no play is for group %s", group)
	}
	a.checkOrphans()
}

func ungroupedHost(h *inventory.Host) bool {
	return len(h.Groups) == 0 || slices.Equal(h.Groups, []string{"ungrouped"})
}

// fileOf is the source that a group's first host stands in.
func (a *analysis) fileOf(group string) string {
	hosts, _ := a.inv.Group(group)
	if len(hosts) == 0 {
		return ""
	}
	return a.inv.File(hosts[0].Name)
}

var patternWord = regexp.MustCompile(`[\w.-]+`)

// namedGroups are the words of the plays' patterns, and the groups of requires and of .groups.
func (a *analysis) namedGroups() map[string]bool {
	named := map[string]bool{}
	for _, b := range a.plan.playbooks {
		for _, p := range b.plays {
			for _, pattern := range patternsOf(p.Play, a.plan.playScope(p.Play)) {
				for _, word := range patternWord.FindAllString(pattern, -1) {
					named[word] = true
				}
			}
			for _, r := range p.Requires {
				named[r.Group] = true
			}
		}
	}
	for name := range a.all.grouped {
		named[name] = true
	}
	return named
}

// checkOrphans warns of files of variables for groups and hosts that are not there. Where some may join, or other
// inventories share the folder, only of those whose names look misspelt.
func (a *analysis) checkOrphans() {
	for _, o := range a.inv.Orphans() {
		what, names := "host", append(namesOf(a.inv.Hosts()), "localhost")
		if o.Group {
			what, names = "group", a.inv.Groups()
		}
		near := nearName(o.Name, names, 2)
		if near == "" && (a.dynamic || a.shared(filepath.Dir(filepath.Dir(o.Path)))) {
			continue
		}
		hint := "pegbook inventory list shows what there is"
		if near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		a.problems.Warn(diag.Position{File: o.Path}, hint, "the inventory has no %s %s, so nothing has these variables", what, o.Name)
	}
}

// shared says whether a folder may hold other inventories than those of the run.
func (a *analysis) shared(dir string) bool {
	own := 0
	for _, source := range a.plan.in.Sources {
		if filepath.Clean(source) == filepath.Clean(dir) {
			return false // all that is in it
		}
		if filepath.Dir(source) == filepath.Clean(dir) {
			own++
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || own == 0 {
		return true
	}
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case "", ".yml", ".yaml", ".ini":
			if !e.IsDir() && !a.isPlaybook(filepath.Join(dir, e.Name())) {
				own--
			}
		}
	}
	return own < 0
}

func (a *analysis) isPlaybook(path string) bool {
	return slices.ContainsFunc(a.plan.in.Playbooks, func(p *playbook.Playbook) bool { return filepath.Clean(p.Path) == path })
}
