package inventory

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
)

const everyLayer = `
-- inv/one.yml --
all:
  vars: {v: 1}
  children:
    web: {vars: {v: 2}, hosts: {h: {v: 7}}}
    site: {children: {web: }}
-- inv/two.yml --
web: {vars: {v: 3}, hosts: {h: {v: 8}}}
-- inv/group_vars/all.yml --
v: 4
-- book/group_vars/all/a.yml --
v: 4.5
-- book/group_vars/all/b.yml --
v: 4.6
-- inv/group_vars/web.yml --
v: 5
-- inv/group_vars/site.yml --
v: 4.9
-- book/group_vars/web --
v: 6
-- inv/host_vars/h.yml --
v: 9
-- book/host_vars/h/x.json --
{"v": 10}
-- book/host_vars/localhost.yml --
v: 11
`

// Every definition is remembered, lowest first; the last is the one that counts.
func TestLayersAreAllDefinitions(t *testing.T) {
	unpack(t, everyLayer)
	inv, problems := Load(t.Context(), Options{Sources: []string{"inv"}, PlaybookDir: "book"})
	require.Empty(t, problems.Error())
	assert.Equal(t, strings.TrimPrefix(`
1 inventory, group all, inv/one.yml:2:13
2 inventory, group web, inv/one.yml:4:21
3 inventory, group web, inv/two.yml:1:17
4 group_vars/all beside the inventory, inv/group_vars/all.yml:1:4
4.5 group_vars/all beside the playbook, book/group_vars/all/a.yml:1:4
4.6 group_vars/all beside the playbook, book/group_vars/all/b.yml:1:4
4.9 group_vars/site beside the inventory, inv/group_vars/site.yml:1:4
5 group_vars/web beside the inventory, inv/group_vars/web.yml:1:4
6 group_vars/web beside the playbook, book/group_vars/web:1:4
7 inventory, host, inv/one.yml:4:40
8 inventory, host, inv/two.yml:1:36
9 host_vars beside the inventory, inv/host_vars/h.yml:1:4
10 host_vars beside the playbook, book/host_vars/h/x.json:1:7
`, "\n"), layersText(inv.Layers("h")))
	h, _ := inv.Host("h")
	assert.Equal(t, `h [site web] v=10`, describe(h))
	assert.Equal(t, []string{"all", "site", "web"}, inv.Above("h"))
	assert.Contains(t, layersText(inv.Layers("localhost")), "11 host_vars beside the playbook")
	assert.Equal(t, []string{"all"}, inv.Above("localhost"))
	assert.Nil(t, inv.Layers("nobody"))
	assert.Equal(t, "4.9 group_vars/site beside the inventory, inv/group_vars/site.yml:1:4\n", layersText(inv.GroupLayers("site")))
	assert.Nil(t, inv.GroupLayers("nobody"))
}

func layersText(layers []Layer) string {
	var out strings.Builder
	for _, l := range layers {
		if v, ok := l.Vars.Get("v"); ok {
			d, _ := v.Static()
			fmt.Fprintf(&out, "%s %s, %s\n", d.Text(), l, v.Position())
		}
	}
	return out.String()
}

// Hosts in the same groups share what the groups say: 10,000 of them cost little more than their own.
func TestHostsShareTheirGroupsVariables(t *testing.T) {
	var group strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&group, "v%d: %d\n", i, i)
	}
	unpack(t, "-- h.yml --\nweb: {hosts: {\"h[1:200]\": {own: 1}}}\n-- group_vars/web.yml --\n"+group.String())
	inv, problems := Load(t.Context(), Options{Sources: []string{"h.yml"}})
	require.Empty(t, problems.Error())
	h, _ := inv.Host("h200")
	assert.Equal(t, 1001, h.Vars.Len())
	before := testing.AllocsPerRun(3, func() { inv.With(Addition{Host: "h1", Vars: vars.ValuesOf(map[string]vars.Data{"x": vars.Of(1)})}) })
	assert.Less(t, before, 200*40.0, "copying 1,000 variables for each host is many more")
}

func TestAdditionsOfHostsThatLeft(t *testing.T) {
	unpack(t, "-- h.yml --\nweb: {hosts: {h1: }}\n-- group_vars/made.yml --\nv: made\n-- group_vars/top.yml --\nv: top\nw: top\n-- group_vars/later --\nu: 1\n")
	inv, problems := Load(t.Context(), Options{Sources: []string{"h.yml"}})
	require.Empty(t, problems.Error())
	made := Addition{Host: "h1", Groups: []string{"made"}, Parents: []string{"top"}, Present: true}
	assert.False(t, inv.Has(made))
	inv = inv.With(made, Addition{Host: "gone", Groups: []string{"made"}, Present: true})
	assert.True(t, inv.Has(made))
	assert.Equal(t, "h1 [made top web] v=\"made\" w=\"top\"\n", described(inv))
	assert.ElementsMatch(t, []string{"u", "v", "w"}, inv.FileNames())
	hosts, problems := inv.Select("top", diag.Position{})
	require.Empty(t, problems)
	assert.Equal(t, []string{"h1"}, hostNames(hosts))
}
