package playbook

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
)

// addPlayKeywords adds what only plays have.
func addPlayKeywords(k map[string]keyword) {
	set := func(name string, read func(r *reader, e entry, p *place, play *Play)) {
		k[name] = keyword{on: onPlay, set: func(r *reader, e entry, t target) { read(r, e, t.place, t.play) }}
	}
	set("hosts", func(r *reader, e entry, p *place, play *Play) { play.Hosts = r.hosts(e, p) })
	set("serial", func(r *reader, e entry, p *place, play *Play) { play.Serial = r.value(e, p, isShares) })
	set("order", func(r *reader, e entry, p *place, play *Play) {
		play.Order = r.constant(e, p, choicesOf("order")...)
	})
	set("strategy", func(r *reader, e entry, p *place, play *Play) {
		play.Strategy = r.constant(e, p, choicesOf("strategy")...)
	})
	set("gather_facts", func(r *reader, e entry, p *place, play *Play) {
		if !isNull(e.value) {
			facts := r.boolean(e, p)
			play.Facts = &facts
		}
	})
	set("gather_subset", func(r *reader, e entry, p *place, play *Play) {
		play.GatherSubset = r.value(e, p, func(vars.Data) string { return "" })
	})
	set("max_fail_percentage", func(r *reader, e entry, p *place, play *Play) {
		play.MaxFailPercentage = r.value(e, p, isPercentage)
	})
	set("force_handlers", func(r *reader, e entry, p *place, play *Play) { play.ForceHandlers = r.boolean(e, p) })
	set("vars_files", func(r *reader, e entry, p *place, play *Play) { play.VarsFiles = r.varsFiles(e, p) })
	set("requires", func(r *reader, e entry, p *place, play *Play) { play.Requires = r.requires(e, p) })
	set("vars_prompt", func(r *reader, e entry, p *place, play *Play) { play.Prompts = r.prompts(e, p) })
	set("lock", func(r *reader, e entry, p *place, play *Play) { play.Lock = r.lock(e, p) })
	set("confirm", func(r *reader, e entry, p *place, play *Play) { play.Confirm = r.confirm(e, p) })
	set("id", func(r *reader, e entry, p *place, play *Play) { play.ID = r.constant(e, p) })
	set("needs", func(r *reader, e entry, p *place, play *Play) {
		play.Needs = r.constants(e, p)
	})
	for _, name := range []string{"pre_tasks", "roles", "tasks", "post_tasks", "handlers", "guard"} {
		k[name] = keyword{on: onPlay}
	}
}

// book reads a playbook file: its plays, and in their places those of the playbooks it imports.
func (r *reader) book(path string, from diag.Position, above *place) []*Play {
	p := &place{file: path, dir: filepath.Dir(path), book: filepath.Dir(path), above: above}
	before := len(*r.problems)
	text, err := r.files.ReadFile(path)
	if err != nil {
		problem := readError(err)
		if from.Line > 0 {
			problem = fmt.Sprintf("%s: %s", path, problem)
		}
		r.lose(from, "", "%s", problem)
		return nil
	}
	root := r.parse(text, path)
	if root == nil {
		if len(*r.problems) == before {
			r.lose(diag.Position{File: path}, "write at least one play: - hosts: all", "the playbook is empty")
		}
		return nil
	}
	if root.Kind != yaml.SequenceNode {
		r.lose(p.at(root), `begin each play with "- "`, "a playbook is a list of plays, not %s", describe(root))
		return nil
	}
	if len(root.Content) == 0 {
		r.lose(p.at(root), "write at least one play: - hosts: all", "the playbook is empty")
	}
	var plays []*Play
	for _, n := range root.Content {
		plays = append(plays, r.plays(n, p)...)
	}
	return plays
}

// plays reads one entry of a playbook: a play or an import_playbook.
func (r *reader) plays(n *yaml.Node, p *place) []*Play {
	if !r.mapping(n, "a play", p) {
		return nil
	}
	for _, e := range pairs(n) {
		if moduleName(e.name()) == "import_playbook" {
			return r.importPlaybook(n, e, p)
		}
	}
	return []*Play{r.play(n, p)}
}

// importPlaybook reads another playbook in place of its import. The import's variables stand over those
// of the plays, and its conditions and tags are added.
func (r *reader) importPlaybook(n *yaml.Node, e entry, p *place) []*Play {
	var kw Keywords
	r.set(pairs(n), onPlaybook, target{place: p, kw: &kw, name: &vars.Value{}}, func(x entry) bool { return x == e })
	v := r.value(e, p, isText)
	if v.IsZero() {
		r.lose(p.at(e.key), "", "import_playbook needs the name of a file")
		return nil
	}
	name, ok := r.literal(v, p)
	if !ok {
		return nil
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(p.dir, name)
	}
	if chain := p.cycle(path); chain != nil {
		r.lose(p.at(e.value), strings.Join(chain, " → "), "%s imports itself", path)
		return nil
	}
	plays := r.book(path, p.at(e.value), p)
	for _, play := range plays {
		play.Vars = play.Vars.Over(kw.Vars)
		play.When = slices.Concat(kw.When, play.When)
		play.Tags = slices.Concat(kw.Tags, play.Tags)
	}
	return plays
}

// play reads one play. Simple keywords come first, wherever they stand: imports below may use the play's
// variables.
func (r *reader) play(n *yaml.Node, p *place) *Play {
	play := &Play{At: p.at(n), Dir: p.dir}
	r.set(pairs(n), onPlay, target{place: p, kw: &play.Keywords, name: &play.Name, play: play}, nil)
	if find(n, "hosts") == nil {
		r.problems.Add(play.At, "write hosts: with a group, a host or a pattern", "the play has no hosts")
	}
	inner := *p
	inner.found, inner.names = &found{}, play.Vars
	q := &inner
	play.Guard = r.guard(find(n, "guard"), q)
	play.PreTasks = r.blocks(find(n, "pre_tasks"), q)
	imported := q.found.roles
	q.found.roles = nil
	roles := r.roles(find(n, "roles"), q)
	play.Roles = q.found.roles
	q.found.roles = imported
	play.Tasks = append(roles, r.blocks(find(n, "tasks"), q)...)
	play.PostTasks = r.blocks(find(n, "post_tasks"), q)
	own := r.handlers(find(n, "handlers"), q)
	play.Imported = q.found.roles
	play.Handlers = append(q.found.handlers, own...)
	return play
}

// hosts reads one or more host patterns.
func (r *reader) hosts(e entry, p *place) vars.Value {
	if isNull(e.value) || e.value.Kind == yaml.SequenceNode && len(e.value.Content) == 0 ||
		e.value.Kind == yaml.ScalarNode && strings.TrimSpace(e.value.Value) == "" {
		r.problems.Add(p.at(e.key), "write a group, a host or a pattern", "hosts is empty")
		return vars.Value{}
	}
	if e.value.Kind == yaml.MappingNode {
		r.problems.Add(p.at(e.value), "", "hosts takes a pattern or a list of patterns, not a mapping")
		return vars.Value{}
	}
	for _, n := range items(e.value) {
		if n.Kind != yaml.ScalarNode || isNull(n) {
			r.problems.Add(p.at(n), "", "hosts takes patterns, not %s", describe(n))
			return vars.Value{}
		}
	}
	return r.value(e, p, func(vars.Data) string { return "" })
}

// varsFiles reads vars_files. Files whose names are no templates are read with the playbook: a missing or
// broken one is known before the run.
func (r *reader) varsFiles(e entry, p *place) []VarsFile {
	var out []VarsFile
	for _, n := range items(e.value) {
		file := VarsFile{At: p.at(n), Names: r.texts(entry{e.key, n}, p)}
		if len(file.Names) == 0 {
			continue
		}
		file.Values = r.varsFile(file, p)
		out = append(out, file)
	}
	return out
}

func (r *reader) varsFile(file VarsFile, p *place) *vars.Values {
	var tried []string
	for _, v := range file.Names {
		d, static := v.Static()
		if !static {
			return nil
		}
		paths := []string{d.Text()}
		if !filepath.IsAbs(d.Text()) {
			paths = []string{filepath.Join(p.dir, "vars", d.Text()), filepath.Join(p.dir, d.Text())}
		}
		for _, path := range paths {
			if text, err := r.files.ReadFile(path); err == nil {
				return r.valuesOf(text, path)
			}
		}
		tried = append(tried, paths...)
	}
	r.lose(file.At, searched(tried), "there is no file of variables %q", file.Names[0].Raw())
	return nil
}

// valuesOf reads a file of variables.
func (r *reader) valuesOf(text []byte, path string) *vars.Values {
	root := r.parse(text, path)
	if root == nil {
		return nil
	}
	p := &place{file: path}
	if root.Kind != yaml.MappingNode {
		r.lose(p.at(root), "write name: value lines", "a file of variables is a mapping, not %s", describe(root))
		return nil
	}
	return r.files.secret(path, vars.ValuesFromNode(root, path, r.problems))
}

var requirement = regexp.MustCompile(`^\s*(>=|<=|==|!=|>|<)?\s*(\d{1,9})\s*$`)

// requires reads what a play expects of the inventory. A plain number means exactly as many.
func (r *reader) requires(e entry, p *place) []Requirement {
	var out []Requirement
	for _, e := range r.entries(e, p) {
		m := requirement.FindStringSubmatch(e.value.Value)
		if e.value.Kind != yaml.ScalarNode || m == nil {
			r.problems.Add(p.at(e.value), `write a comparison such as ">=3"`, "the number of hosts in %s cannot be %s", e.name(), describe(e.value))
			continue
		}
		count, err := strconv.Atoi(m[2])
		if err != nil {
			panic("playbook: nine digits are no number: " + m[2])
		}
		op := m[1]
		if op == "" {
			op = "=="
		}
		out = append(out, Requirement{At: p.at(e.key), Group: e.name(), Op: op, Count: count})
	}
	return out
}

// confirm reads what is to be typed before a play destroys something.
func (r *reader) confirm(e entry, p *place) *Confirm {
	c := &Confirm{At: p.at(e.key)}
	list := r.entries(e, p)
	for _, e := range list {
		switch e.name() {
		case "message":
			c.Message = r.value(e, p, isText)
		case "value":
			c.Value = r.value(e, p, isText)
		default:
			r.unknownKey(e, p, "confirm", keysOf("confirm"))
		}
	}
	if c.Value.IsZero() || c.Message.IsZero() {
		if len(list) > 0 || isNull(e.value) {
			r.problems.Add(c.At, `write confirm: {message: "what is lost", value: "{{ .cluster_name }}"}`, "confirm needs a message and a value")
		}
		return nil
	}
	return c
}

// checkNeeds reports needs of plays that do not exist, ids that stand twice, and plays that wait for each
// other.
func (r *reader) checkNeeds(plays []*Play) {
	byID := map[string]*Play{}
	var ids []string
	for _, play := range plays {
		if play.ID == "" {
			continue
		}
		if byID[play.ID] != nil {
			r.problems.Add(play.At, "", "two plays have the id %q", play.ID)
			continue
		}
		byID[play.ID] = play
		ids = append(ids, play.ID)
	}
	for _, play := range plays {
		for _, id := range play.Needs {
			if byID[id] == nil {
				r.problems.Add(play.At, diag.DidYouMean(id, ids), "the play needs %q, which is no play's id", id)
			}
		}
	}
	state := map[*Play]int{}
	for i := range plays {
		r.waits(plays, i, byID, state)
	}
}

const (
	waiting = 1
	clear   = 2
)

// waits follows what a play waits for; a play met while it is being followed waits for itself.
func (r *reader) waits(plays []*Play, i int, byID map[string]*Play, state map[*Play]int) {
	play := plays[i]
	switch state[play] {
	case clear:
		return
	case waiting:
		r.problems.Add(play.At, "", "the play waits for itself through needs")
		return
	}
	state[play] = waiting
	if play.Needs == nil && i > 0 {
		r.waits(plays, i-1, byID, state)
	}
	for _, id := range play.Needs {
		if other := byID[id]; other != nil {
			r.waits(plays, slices.Index(plays, other), byID, state)
		}
	}
	state[play] = clear
}
