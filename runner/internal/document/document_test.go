package document

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
)

func TestBrokenText(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"indent", "- name: a\n  tasks:\n    - ping: {}\n     bad: 1\n", "f:4:6: this line does not fit the lines above it (entries of one mapping or list begin in the same column)"},
		{"indent among many lines", strings.Repeat("- a: 1\n  b: 2\n", 200) + "- a: 1\n b: 2\n" + strings.Repeat("- a: 1\n", 200),
			"f:402:2: this line does not fit the lines above it (entries of one mapping or list begin in the same column)"},
		{"tab", "a:\n\tb: 1\n", "f:2:1: a tab in the indentation (indent with spaces)"},
		{"colon", "a: b: c\n", "f:1:1: a colon where no value can stand (indent it like the line above it, or put quotes around a text that holds a colon and a space)"},
		{"quote", "a: 1\nb: \"open\nc: 2\n", "f:2:1: a quote or bracket that opens here is not closed"},
		{"bracket over lines", "a: [1,\n  2,\n  3]\nb: [1, 2\nc: 3\n", "f:4:1: a quote or bracket that opens here is not closed"},
		{"text behind a quote", "a: \"{{ .x }}\"/file\n", "f:1:1: this line does not fit"},
		{"character", "a: @b\n", "f:1:1: a character that cannot begin a value"},
		{"alias", "a: *b\n", "f:1:1: unknown anchor 'b' referenced (define it above with &name)"},
		{"two documents", "a: 1\n---\nb: 1\n", "f:2:1: a second document begins here (a file holds one document; remove the --- line)"},
		{"key twice", "a: 1\nb: {c: 1, c: 2}\na: 3\n", "f:2:11: \"c\" stands twice in this mapping, first on line 2 (keep one of them)\nf:3:1: \"a\" stands twice in this mapping, first on line 1 (keep one of them)"},
		{"template without quotes", "a: {{ .x }}\n", `f:1:4: a template without quotes is read as a mapping (put quotes around a value that begins with {{: "{{ .name }}")`},
		{"list as a key", "? [a]\n: 1\n", "f:1:3: a key must be text, not a list or a mapping"},
		{"alias in itself", "a: &x [1, *x]\n", "f:1:11: *x stands inside the value that it repeats"},
		{"merge of text", "<<: a\n", "f:1:5: << takes a mapping or a list of mappings"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var problems diag.List
			Parse([]byte(test.text), "f", &problems)
			assert.True(t, strings.HasPrefix(problems.Error(), test.want), "want %s\n got %s", test.want, problems.Error())
		})
	}
}

func TestAliasesAndMergeKeys(t *testing.T) {
	var problems diag.List
	root := Parse([]byte(`
base: &base {a: 1, b: 2}
more: &more {b: 3, c: 4}
both: {<<: [*base, *more], b: 5}
list: [*base]
`), "f", &problems)
	require.Empty(t, problems)
	var got struct {
		Both map[string]int
		List []map[string]int
	}
	require.NoError(t, root.Decode(&got))
	assert.Equal(t, map[string]int{"a": 1, "b": 5, "c": 4}, got.Both)
	assert.Equal(t, []map[string]int{{"a": 1, "b": 2}}, got.List)
}

func TestEmptyTextIsNoProblem(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "~\n"} {
		var problems diag.List
		assert.Nil(t, Parse([]byte(text), "f", &problems), text)
		assert.Empty(t, problems, text)
	}
}

func TestAliasesCannotBlowUp(t *testing.T) {
	var text strings.Builder
	text.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := '1'; i <= '9'; i++ {
		before := string(i - 1)
		text.WriteString("a" + string(i) + ": &a" + string(i) + " [*a" + before + strings.Repeat(", *a"+before, 9) + "]\n")
	}
	var problems diag.List
	assert.Nil(t, Parse([]byte(text.String()), "f", &problems))
	require.Len(t, problems, 1)
	assert.Equal(t, "aliases blow this file up to more than 2000000 values", problems[0].Problem)
}

// FuzzParse: no text crashes the reader; what is accepted holds no alias and no key twice.
func FuzzParse(f *testing.F) {
	f.Add("a: &x {b: [1, 'c']}\n<<: *x\n")
	f.Add("- {{ .x }}\n- \"open")
	f.Fuzz(func(t *testing.T, text string) {
		var problems diag.List
		root := Parse([]byte(text), "f", &problems)
		if root == nil || problems.Failed() {
			return
		}
		resolved(t, root, 0)
	})
}

func resolved(t *testing.T, n *yaml.Node, depth int) {
	if n.Kind == yaml.AliasNode || depth > 20_000 {
		t.Fatalf("an alias was left at line %d", n.Line)
	}
	for _, child := range n.Content {
		resolved(t, child, depth+1)
	}
}
