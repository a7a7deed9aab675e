package playbook

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
	"github.com/pegbook/pegbook/runner/vault"
)

// maxTasks bounds what imports of imports can blow a playbook up to.
const maxTasks = 50_000

// Parse reads a playbook with everything it imports. The list holds every problem of every file; the
// playbook is usable when the list has not Failed.
func Parse(path string, o Options) (*Playbook, diag.List) {
	r := newReader(o)
	book := &Playbook{Path: path, Plays: r.book(path, diag.Position{File: path}, nil)}
	r.checkNeeds(book.Plays)
	book.Unread = r.unread()
	return book, r.sorted()
}

// ParseInclude finds and reads a file of tasks for an include_tasks whose file's name was not known before
// the run. Missing files are a problem that names the places searched.
func ParseInclude(from *Task, name string, o Options) (*Content, diag.List) {
	r := newReader(o)
	path, text, tried := r.search(name, from.place)
	if text == nil {
		r.problems.Add(from.At, searched(tried), "there is no file %q to include", name)
		return nil, r.sorted()
	}
	return r.fileContent(text, from.place.included(path)), r.sorted()
}

// ParseRole finds and reads a role for an include whose name was not known before the run.
func ParseRole(from *Task, name string, inc *Include, o Options) (*Content, diag.List) {
	r := newReader(o)
	use := inc.use(name, from)
	return r.roleContent(use, from.place), r.sorted()
}

// reader reads one playbook, or one include during the run.
type reader struct {
	o        Options
	files    *opened
	problems *diag.List
	known    map[string]keyword
	// contents are the includes read so far; nil while one is being read, so that a file which includes
	// itself ends.
	contents map[contentKey]*Content
	tasks    int
	// lost: of what some import or role brings nothing could be read.
	lost bool
}

// contentKey tells includes apart whose content differs.
type contentKey struct {
	path string
	role *Role
	from [4]string

	unchecked bool
}

func newReader(o Options) *reader {
	problems := &diag.List{}
	files := &opened{Files: o.files(), keys: o.Vault, told: o.Read, problems: problems, encrypted: map[string]bool{}}
	return &reader{o: o, files: files, problems: problems, known: keywordTable(), contents: map[contentKey]*Content{}}
}

func (r *reader) sorted() diag.List {
	r.problems.Sort()
	return *r.problems
}

// search finds a file by the name that an import or include gives: beside the text it stands in, beside
// those that brought this one in, among the role's tasks, beside the playbook.
func (r *reader) search(name string, p *place) (path string, text []byte, tried []string) {
	if filepath.IsAbs(name) {
		tried = []string{name}
	} else {
		for up := p; up != nil; up = up.above {
			tried = append(tried, filepath.Join(up.dir, name))
		}
		for role := p.role; role != nil; role = role.parent() {
			tried = append(tried, filepath.Join(role.Path, "tasks", name), filepath.Join(role.Path, name))
		}
		tried = append(tried, filepath.Join(p.book, name))
	}
	tried = distinct(tried)
	for _, path := range tried {
		if text, err := r.files.ReadFile(path); err == nil {
			return path, text, tried
		}
	}
	return "", nil, tried
}

func distinct(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func searched(tried []string) string { return "searched " + strings.Join(tried, ", ") }

func (role *Role) parent() *Role {
	if len(role.Parents) == 0 {
		return nil
	}
	return role.Parents[0]
}

func readError(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "there is no such file"
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return "cannot be read: " + path.Err.Error()
	}
	return "cannot be read: " + err.Error()
}

// included is the place of a text that this one includes.
func (p *place) included(path string) *place {
	q := p.imported(path)
	q.dynamic, q.found = true, &found{}
	return q
}

// imported is the place of a text that this one imports.
func (p *place) imported(path string) *place {
	q := *p
	q.file, q.dir, q.above, q.dynamic = path, filepath.Dir(path), p, false
	return &q
}

// cycle is the chain of static imports that leads from path back to path; nil when there is none.
func (p *place) cycle(path string) []string {
	chain := []string{path}
	for up := p; up != nil; up = up.above {
		chain = append(chain, up.file)
		if up.file == path {
			slices.Reverse(chain)
			return chain
		}
		if up.dynamic {
			return nil
		}
	}
	return nil
}

// fileContent reads the tasks that an include brings in.
func (r *reader) fileContent(text []byte, p *place) *Content {
	c := &Content{Path: p.file, Role: p.role}
	root := r.parse(text, p.file)
	c.Blocks = r.blocks(root, p)
	c.Handlers = p.found.handlers
	return c
}

// literal gives the text of a name that is known before the run: it may use extra variables and those of
// the play.
func (r *reader) literal(v vars.Value, p *place) (string, bool) {
	if d, static := v.Static(); static {
		return d.Text(), true
	}
	scope := vars.NewScope(noHosts{r.o.Vault}).With(vars.PlayVars, p.names).With(vars.ExtraVars, r.o.Extra)
	d, err := v.Resolve(scope)
	if err != nil {
		r.problems.Add(v.Position(), "what is imported may depend on -e and the play's vars only; to use others, include it",
			"the name cannot be known before the run: %s", err)
		return "", false
	}
	return d.Text(), true
}

// noHosts is the world before any host: only variables that do not depend on one.
type noHosts struct{ keys *vault.Keyring }

func (noHosts) HostScope(string) (*vars.Scope, bool) { return nil, false }
func (noHosts) HostNames() []string                  { return nil }
func (noHosts) Select(string) ([]string, error)      { return nil, errors.New("there are no hosts yet") }
func (noHosts) ReadFile(string) ([]byte, error)      { return nil, fs.ErrNotExist }
func (w noHosts) Keyring() *vault.Keyring            { return w.keys }

// set reads the keywords of one construct: those of the table that may stand on its level. Keys for which
// keep answers true are left to the caller.
func (r *reader) set(list []entry, level levels, t target, keep func(entry) bool) {
	for _, e := range list {
		if keep != nil && keep(e) {
			continue
		}
		k, known := r.known[e.name()]
		switch {
		case !known:
			r.unknownKeyword(e, level, t.place)
		case k.on&level == 0:
			hint := "it belongs on " + k.on.String()
			if level == onDynamic && k.on&onApply != 0 {
				hint = "apply: {" + e.name() + ": …} gives it to what is included"
			}
			r.problems.Add(t.place.at(e.key), hint, "%s does not take %s", level, e.name())
		case k.refused != "":
			r.problems.Add(t.place.at(e.key), k.hint, "%s", k.refused)
		case k.set != nil:
			k.set(r, e, t)
		}
	}
}

// unknownKeyword reports a key that is no keyword anywhere.
func (r *reader) unknownKeyword(e entry, level levels, p *place) {
	r.lost = r.lost || BringsIn(e.name())
	if strings.HasPrefix(e.name(), "with_") {
		r.problems.Add(p.at(e.key), "use loop", "%s does not take %s", level, e.name())
		return
	}
	hint := ""
	if level == onPlay {
		hint = "modules are used by tasks, below tasks:"
	}
	if near := diag.Nearest(e.name(), r.namesOn(level)); near != "" {
		hint = diag.DidYouMean(e.name(), []string{near})
	}
	r.problems.Add(p.at(e.key), hint, "%s has no keyword %q", level, e.name())
}

// namesOn are the keywords that a level takes, sorted.
func (r *reader) namesOn(level levels) []string {
	var names []string
	for name, k := range r.known {
		if k.on&level != 0 && k.refused == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// mapping says whether a node is a mapping, and reports it when it is not.
func (r *reader) mapping(n *yaml.Node, what string, p *place) bool {
	if n.Kind == yaml.MappingNode {
		return true
	}
	r.problems.Add(p.at(n), "", "%s is a mapping, not %s", what, describe(n))
	return false
}

// list are the elements of a value that must be a list; null is an empty one.
func (r *reader) list(n *yaml.Node, what string, p *place) []*yaml.Node {
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.problems.Add(p.at(n), `begin each entry with "- "`, "%s are a list, not %s", what, describe(n))
		return nil
	}
	return n.Content
}
