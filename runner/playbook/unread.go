package playbook

import (
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/internal/document"
)

// Unread is what is known of the parts of a playbook that errors keep from being read: enough to tell a name
// that nothing can define from one that a broken task may define. The zero value knows that nothing was lost.
type Unread struct {
	// All: nothing is known of what a role or an import brings in, so every name may be defined there.
	All   bool
	words map[string]bool // that stand in the files with errors, outside of templates
	lines []string        // of these files
}

// Add lets u know of a further file with an error in it.
func (u *Unread) Add(file string, o Options) {
	text, err := newReader(o).files.ReadFile(file)
	if err != nil {
		u.All = true
		return
	}
	if u.words == nil {
		u.words = map[string]bool{}
	}
	for _, w := range plainWord.FindAllStringSubmatch(template.ReplaceAllString(string(text), " "), -1) {
		u.words[w[1]] = true
	}
	u.lines = append(u.lines, strings.Split(string(text), "\n")...)
}

// Merge lets u know what other does.
func (u *Unread) Merge(other *Unread) {
	if other == nil {
		return
	}
	u.All = u.All || other.All
	if u.words == nil {
		u.words = map[string]bool{}
	}
	for w := range other.words {
		u.words[w] = true
	}
	u.lines = append(u.lines, other.lines...)
}

var (
	template = regexp.MustCompile(`(?s)\{\{.*?\}\}`)
	// A variable that is used in an expression has a dot before its name.
	plainWord = regexp.MustCompile(`(?:^|[^\w.$])([A-Za-z_]\w*)`)
	keyBefore = regexp.MustCompile(`^[\s-]*\w+\s*:`)
)

// MayDefine says whether something that could not be read may define a variable.
func (u *Unread) MayDefine(name string) bool { return u.All || u.words[name] }

// MayHandle says whether something that could not be read may be the handler of this name: any key but
// notify may be a misspelt name or listen.
func (u *Unread) MayHandle(name string) bool {
	return u.All || slices.ContainsFunc(u.lines, func(line string) bool {
		key := keyBefore.FindString(line)
		return key != "" && !strings.Contains(key, "notify") && strings.Contains(line[len(key):], name)
	})
}

// BringsIn says whether a word is, or is meant to be, one that brings in what stands elsewhere.
func BringsIn(word string) bool {
	return diag.Nearest(moduleName(word), []string{"roles", "dependencies", "vars_files", "include_vars", "import_playbook", "import_role",
		"import_tasks", "include_role", "include_tasks"}) != ""
}

// lose adds a problem that leaves out what an import, a role or a file of variables would have brought.
func (r *reader) lose(at diag.Position, hint, format string, args ...any) {
	r.lost = true
	r.problems.Add(at, hint, format, args...)
}

// parse reads YAML; nil where it holds nothing, or is none.
func (r *reader) parse(text []byte, file string) *yaml.Node {
	before := len(*r.problems)
	root := document.Parse(text, file, r.problems)
	r.lost = r.lost || len(*r.problems) > before && root == nil
	return root
}

// unread gathers what is known of the files with errors.
func (r *reader) unread() *Unread {
	if !r.problems.Failed() {
		return nil
	}
	u := &Unread{All: r.lost || r.files.shut}
	var files []string
	for _, d := range *r.problems {
		if !d.Warning && !u.All && !slices.Contains(files, d.File) {
			files = append(files, d.File)
			u.Add(d.File, r.o)
		}
	}
	return u
}
