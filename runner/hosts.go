package runner

import (
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/inventory"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
	"github.com/pegbook/pegbook/runner/vault"
)

// playScope is the scope in which a play's own keywords are read: extra, play and magic variables, no
// host's.
func (p *Plan) playScope(pl *playbook.Play) *vars.Scope {
	s := vars.NewScope(noWorld{p.in.Inventory, p.in.Files.Vault})
	if pl.Vars.Len() > 0 {
		s = s.With(vars.PlayVars, pl.Vars)
	}
	s = s.With(vars.PlayVars, p.in.answersTo(pl))
	for _, f := range pl.VarsFiles {
		if f.Values != nil {
			s = s.With(vars.PlayVarsFiles, f.Values)
		}
	}
	s = s.With(vars.Magic, vars.ValuesOf(map[string]vars.Data{"playbook_dir": vars.Of(pl.Dir)}))
	if p.in.Extra.Len() > 0 {
		s = s.With(vars.ExtraVars, p.in.Extra)
	}
	return s
}

// noWorld is what templates reach where no host's variables count.
type noWorld struct {
	*inventory.Inventory
	keys *vault.Keyring
}

func (noWorld) HostScope(string) (*vars.Scope, bool) { return nil, false }
func (noWorld) HostNames() []string                  { return nil }
func (w noWorld) Keyring() *vault.Keyring            { return w.keys }
func (w noWorld) Select(pattern string) ([]string, error) {
	return selectNames(w.Inventory, pattern)
}
func (noWorld) ReadFile(name string) ([]byte, error) {
	return nil, fmt.Errorf("%s cannot be read before the play has begun", name)
}

func selectNames(inv *inventory.Inventory, pattern string) ([]string, error) {
	hosts, problems := inv.Select(pattern, diag.Position{})
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return namesOf(hosts), nil
}

func namesOf(hosts []*inventory.Host) []string {
	names := make([]string, len(hosts))
	for i, h := range hosts {
		names[i] = h.Name
	}
	return names
}

// patternsOf are a play's host patterns.
func patternsOf(pl *playbook.Play, s *vars.Scope) []string {
	patterns, err := texts(pl.Hosts, s)
	if err != nil {
		return []string{pl.Hosts.Raw()}
	}
	return patterns
}

// selectHosts gives a play's hosts, within the limit and in the play's order.
func (p *Plan) selectHosts(pl *playbook.Play, inv *inventory.Inventory, s *vars.Scope) ([]*inventory.Host, diag.List) {
	patterns, err := texts(pl.Hosts, s)
	if errors.Is(err, vars.ErrUnknown) {
		return nil, nil // an answer to vars_prompt decides
	}
	if err != nil {
		return nil, diagnosed(err, pl.Hosts.Position())
	}
	hosts, problems := selectPatterns(inv, patterns, pl.Hosts.Position())
	problems = withoutOptional(problems, pl.Requires, inv)
	if p.limit != nil {
		hosts = slices.DeleteFunc(slices.Clone(hosts), func(h *inventory.Host) bool { return !p.limit[h.Name] })
	}
	return arrange(hosts, pl.Order), problems
}

// withoutOptional drops the warnings about groups that the inventory lacks and the play's requires name:
// how many hosts such a group must have is said there, and none may do.
func withoutOptional(problems diag.List, requires []playbook.Requirement, inv *inventory.Inventory) diag.List {
	return slices.DeleteFunc(problems, func(d diag.Diagnostic) bool {
		return slices.ContainsFunc(requires, func(r playbook.Requirement) bool {
			_, there := inv.Group(r.Group)
			return !there && d.Problem == "no host or group is called "+r.Group
		})
	})
}

func selectPatterns(inv *inventory.Inventory, patterns []string, at diag.Position) ([]*inventory.Host, diag.List) {
	if len(patterns) == 1 {
		return inv.Select(patterns[0], at)
	}
	return inv.SelectAll(patterns, at)
}

func arrange(hosts []*inventory.Host, order string) []*inventory.Host {
	hosts = slices.Clone(hosts)
	byName := func(a, b *inventory.Host) int { return strings.Compare(a.Name, b.Name) }
	switch order {
	case "sorted":
		slices.SortFunc(hosts, byName)
	case "reverse_sorted":
		slices.SortFunc(hosts, byName)
		slices.Reverse(hosts)
	case "reverse_inventory":
		slices.Reverse(hosts)
	case "shuffle":
		rand.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	}
	return hosts
}

// batches cuts hosts as serial says; without it there is one.
func batches(hosts []*inventory.Host, serial vars.Value, s *vars.Scope) ([][]*inventory.Host, error) {
	if len(hosts) == 0 {
		return nil, nil
	}
	if serial.IsZero() {
		return [][]*inventory.Host{hosts}, nil
	}
	sizes, err := batchSizes(serial, len(hosts), s)
	if err != nil {
		return nil, err
	}
	var cut [][]*inventory.Host
	for i := 0; len(hosts) > 0; i++ {
		size := sizes[min(i, len(sizes)-1)]
		if size <= 0 || size > len(hosts) {
			size = len(hosts)
		}
		cut = append(cut, hosts[:size:size])
		hosts = hosts[size:]
	}
	return cut, nil
}

func batchSizes(serial vars.Value, hosts int, s *vars.Scope) ([]int, error) {
	d, err := serial.Resolve(s)
	if err == nil && d.IsUnknown() {
		err = vars.ErrUnknown
	}
	if err != nil {
		return nil, err
	}
	items, ok := d.List()
	if !ok {
		items = []vars.Data{d}
	}
	sizes := make([]int, len(items))
	for i, item := range items {
		if sizes[i], err = batchSize(item, hosts); err != nil {
			return nil, err
		}
	}
	if len(sizes) == 0 {
		sizes = []int{0}
	}
	return sizes, nil
}

func batchSize(d vars.Data, hosts int) (int, error) {
	text := d.Text()
	if percent, ok := strings.CutSuffix(text, "%"); ok {
		p, err := strconv.ParseFloat(strings.TrimSpace(percent), 64)
		if err != nil {
			return 0, fmt.Errorf("serial: %q is no percentage", text)
		}
		return max(1, int(p*float64(hosts)/100)), nil
	}
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return 0, fmt.Errorf("serial: %q is neither a number of hosts nor a percentage", text)
	}
	return n, nil
}
