package runner

import (
	"fmt"
	"slices"
	"strings"

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
	used = append(used, connectionNames()...)
	slices.Sort(used)
	a.all.looked = map[vars.Value]bool{}
	for _, b := range a.plan.playbooks {
		for _, p := range b.plays {
			for _, h := range p.hosts {
				a.spelling(h.Vars, used)
			}
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
	a.oddHosts()
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
	if name == "" || a.all.used[name] || a.told[at] && at != (diag.Position{}) || slices.Contains(connectionNames(), name) {
		return
	}
	near := nearOne(name, used)
	if near == "" {
		return
	}
	a.told[at] = true
	a.problems.Warn(at, fmt.Sprintf("did you mean %q?", near), "nothing uses the variable %q", name)
}

// connectionNames are the variables that say how a host is reached.
func connectionNames() []string {
	return []string{"ansible_become", "ansible_become_exe", "ansible_become_flags", "ansible_become_method", "ansible_become_pass",
		"ansible_become_password", "ansible_become_user", "ansible_connection", "ansible_host", "ansible_host_key_accept_new",
		"ansible_host_key_checking", "ansible_password", "ansible_port", "ansible_private_key_file", "ansible_remote_tmp", "ansible_ssh_args",
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

// oddHosts warns of hosts in no group whose names are a slip away from those of hosts that are in one.
func (a *analysis) oddHosts() {
	var grouped []string
	var alone []*inventory.Host
	for _, h := range a.inv.Hosts() {
		if len(h.Groups) == 0 || slices.Equal(h.Groups, []string{"ungrouped"}) {
			alone = append(alone, h)
		} else {
			grouped = append(grouped, h.Name)
		}
	}
	if len(grouped) == 0 {
		return
	}
	for _, h := range alone {
		if near := nearOne(h.Name, grouped); near != "" && !strings.EqualFold(near, h.Name) {
			a.problems.Warn(diag.Position{File: a.inv.File(h.Name)}, fmt.Sprintf("did you mean %q?", near), "host %s is in no group", h.Name)
		}
	}
}
