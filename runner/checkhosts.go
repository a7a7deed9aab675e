package runner

import (
	"slices"
	"strings"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/vars"
)

// setting is a connection variable with what its values may be.
type setting struct {
	names []string
	wrong func(text string) (hint string)
}

// settings are the connection variables that are checked before the run, where no template stands in
// them: a host that cannot be worked on should not be found when others have been.
func settings() []setting {
	oneOf := func(choices ...string) func(string) string {
		return func(text string) string {
			if slices.Contains(choices, strings.TrimPrefix(text, "ansible.builtin.")) {
				return ""
			}
			return "choose from " + strings.Join(choices, ", ")
		}
	}
	return []setting{
		{[]string{"ansible_port", "ansible_ssh_port"}, func(text string) string {
			if n, err := vars.Of(text).Int(); err == nil && n > 0 && n < 1<<16 {
				return ""
			}
			return "a port is a whole number from 1 to 65535"
		}},
		{[]string{"ansible_become", "ansible_host_key_checking", "ansible_ssh_host_key_checking", "ansible_host_key_accept_new"}, func(text string) string {
			if _, err := modules.ParseBool(text); err == nil {
				return ""
			}
			return "write true or false"
		}},
		{[]string{"ansible_connection"}, oneOf("ssh", "local", "smart", "paramiko")},
		{[]string{"ansible_become_method"}, oneOf("sudo", "su", "doas")},
	}
}

// checkConnections looks at how the hosts of the plays are reached.
func (c *compiler) checkConnections() {
	all, seen := settings(), map[*inventory.Host]bool{}
	told := map[diag.Position]bool{} // a variable of a group is many hosts'
	for _, b := range c.plan.playbooks {
		for _, p := range b.plays {
			for _, h := range p.hosts {
				if !seen[h] {
					seen[h] = true
					c.checkConnection(h, all, told)
				}
			}
		}
	}
}

func (c *compiler) checkConnection(h *inventory.Host, all []setting, told map[diag.Position]bool) {
	for _, name := range passwordNames() {
		if v, ok := h.Vars.Get(name); ok {
			if d, static := v.Static(); static {
				c.plan.in.Files.Vault.Secrets().Add(d.Text())
			}
		}
	}
	for _, s := range all {
		for _, name := range s.names {
			v, ok := h.Vars.Get(name)
			if !ok || told[v.Position()] {
				continue
			}
			d, static := v.Static()
			if text := d.Text(); static && text != "" && d.Kind() != "null" {
				if hint := s.wrong(text); hint != "" {
					told[v.Position()] = true
					c.problems.Add(v.Position(), hint, "host %s: %s is %q", h.Name, name, text)
				}
			}
		}
	}
}
