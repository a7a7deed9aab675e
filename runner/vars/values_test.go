package vars

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

// numbered are variables v0, v1 … from and to, all of one value.
func numbered(from, to int, value string) *Values {
	var entries []entry
	for i := from; i < to; i++ {
		entries = append(entries, entry{fmt.Sprintf("v%d", i), Literal(Of(value))})
	}
	return newValues(entries)
}

// Over shares large sets; what it gives is the same as if it had copied them.
func TestOverSharesAndKeepsOrder(t *testing.T) {
	group, host, more, all := numbered(0, 100, "group"), numbered(98, 103, "host"), numbered(102, 105, "more"), numbered(0, 200, "all")
	for name, test := range map[string]struct {
		got  *Values
		want func(i int) string
		n    int
	}{
		"few over many":      {group.Over(host), func(i int) string { return either(i < 98, "group", "host") }, 103},
		"few over few":       {numbered(0, 3, "low").Over(numbered(2, 4, "high")), func(i int) string { return either(i < 2, "low", "high") }, 4},
		"twice":              {group.Over(host).Over(more), func(i int) string { return either(i < 98, "group", either(i < 102, "host", "more")) }, 105},
		"shared on top":      {numbered(0, 3, "low").Over(group.Over(host)), func(i int) string { return either(i < 98, "group", "host") }, 103},
		"shared over shared": {all.Over(group.Over(host)), func(i int) string { return either(i < 98, "group", either(i < 103, "host", "all")) }, 200},
		"more than the base": {group.Over(all), func(int) string { return "all" }, 200},
		"nothing":            {group.Over(nil).Over(&Values{}), func(int) string { return "group" }, 100},
		"over nothing":       {(*Values)(nil).Over(group), func(int) string { return "group" }, 100},
	} {
		t.Run(name, func(t *testing.T) {
			want, names := map[string]string{}, []string{}
			for i := range test.n {
				names = append(names, fmt.Sprintf("v%d", i))
				want[names[i]] = test.want(i)
			}
			got := map[string]string{}
			for _, name := range test.got.Names() {
				v, _ := test.got.Get(name)
				d, _ := v.Static()
				got[name] = d.Text()
			}
			assert.Equal(t, want, got)
			assert.Equal(t, names, test.got.Names())
			assert.Equal(t, test.n, test.got.Len())
			assert.Equal(t, names, fieldNames(test.got.Mapping()))
			scope := NewScope(nil).With(TaskVars, test.got)
			assert.Equal(t, slices.Sorted(maps.Keys(want)), slices.DeleteFunc(scope.Names(), func(n string) bool { return n == "omit" }))
		})
	}
	assert.Equal(t, 100, group.Len(), "what lies below stays as it was")
}

func either(cond bool, yes, no string) string {
	if cond {
		return yes
	}
	return no
}

func fieldNames(v Value) []string {
	var names []string
	for _, f := range v.Fields() {
		names = append(names, f.Name)
	}
	return names
}

func TestDefinitionsTellWhatIsHidden(t *testing.T) {
	s := NewScope(nil).With(RoleDefaults, numbered(0, 2, "default")).With(ExtraVars, numbered(1, 2, "extra")).With(PlayVars, numbered(0, 2, "play"))
	var got []string
	for _, d := range s.Definitions("v1") {
		data, _ := d.Value.Static()
		got = append(got, fmt.Sprintf("%d %s", d.Layer, data.Text()))
	}
	assert.Equal(t, []string{"21 extra", "12 play", "1 default"}, got)
	assert.Empty(t, s.Definitions("nothing"))
}
