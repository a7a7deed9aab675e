package playbook

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/vars"
)

// blocks reads a list of tasks.
func (r *reader) blocks(n *yaml.Node, p *place) []*Block {
	var out []*Block
	for _, item := range r.list(n, "tasks", p) {
		if !r.mapping(item, "a task", p) {
			continue
		}
		if r.tasks++; r.tasks > maxTasks {
			if r.tasks == maxTasks+1 {
				r.problems.Add(p.at(item), "", "the imports bring in more than %d tasks", maxTasks)
			}
			return out
		}
		if b := r.item(item, p); b != nil {
			out = append(out, b)
		}
	}
	return out
}

// item reads one entry of a list of tasks: a block, an import, or a task.
func (r *reader) item(n *yaml.Node, p *place) *Block {
	for _, e := range pairs(n) {
		switch moduleName(e.name()) {
		case "block", "rescue", "always":
			return r.block(n, p)
		case "import_tasks":
			return r.importTasks(n, e, p)
		case "import_role":
			return r.importRole(n, e, p)
		}
	}
	task := r.task(n, p)
	if task == nil {
		return nil
	}
	return &Block{At: task.At, Task: task}
}

// block reads block, rescue and always.
func (r *reader) block(n *yaml.Node, p *place) *Block {
	b := &Block{At: p.at(n)}
	r.set(pairs(n), onBlock, target{place: p, kw: &b.Keywords, name: &b.Name, block: b}, nil)
	body := find(n, "block")
	if body == nil {
		r.problems.Add(b.At, "write block: with the tasks that may fail", "rescue and always need a block")
	}
	b.Body = r.blocks(body, p)
	b.Rescue = r.blocks(find(n, "rescue"), p)
	b.Always = r.blocks(find(n, "always"), p)
	return b
}

// importTasks reads a file of tasks in place of its import, as a block with the import's keywords.
func (r *reader) importTasks(n *yaml.Node, e entry, p *place) *Block {
	b := &Block{At: p.at(n)}
	if !r.importKeywords(n, e, b, p) {
		return nil
	}
	v, ok := r.importName(e, "file", p)
	if !ok {
		return nil
	}
	name, ok := r.literal(v, p)
	if !ok {
		return nil
	}
	path, text, tried := r.search(name, p)
	if text == nil {
		r.lose(v.Position(), searched(tried), "there is no file %q to import", name)
		return nil
	}
	if chain := p.cycle(path); chain != nil {
		r.lose(v.Position(), strings.Join(chain, " → "), "%s imports itself", path)
		return nil
	}
	b.Body = r.blocks(r.parse(text, path), p.imported(path))
	return b
}

// importKeywords reads the keywords of an import. False when it cannot be followed.
func (r *reader) importKeywords(n *yaml.Node, e entry, b *Block, p *place) bool {
	good := true
	r.set(pairs(n), onStatic, target{place: p, kw: &b.Keywords, name: &b.Name, block: b}, func(x entry) bool {
		if x == e {
			return true
		}
		if x.name() == "loop" || strings.HasPrefix(x.name(), "with_") {
			dynamic := strings.Replace(moduleName(e.name()), "import", "include", 1)
			r.lose(p.at(x.key), "use "+dynamic, "%s cannot loop", moduleName(e.name()))
			good = false
			return true
		}
		return false
	})
	return good
}

// importName is the file or role that an import or include names: import_tasks: a.yml, or {file: a.yml}.
func (r *reader) importName(e entry, key string, p *place) (vars.Value, bool) {
	n := e.value
	if n.Kind == yaml.MappingNode {
		n = find(n, key)
	}
	if n == nil || n.Kind != yaml.ScalarNode || isNull(n) || n.Value == "" {
		r.lose(p.at(e.key), "write "+moduleName(e.name())+": {"+key+": …}", "%s needs a %s", moduleName(e.name()), key)
		return vars.Value{}, false
	}
	v := r.value(entry{e.key, n}, p, isText)
	return v, !v.IsZero()
}

// handlers reads a list of handlers. Blocks and imports among them dissolve: what they hold are handlers
// of their own, with the keywords of what was around them.
func (r *reader) handlers(n *yaml.Node, p *place) []*Handler {
	inner := *p
	inner.handler = true
	return r.flatten(r.blocks(n, &inner), Keywords{}, p)
}

func (r *reader) flatten(blocks []*Block, outer Keywords, p *place) []*Handler {
	var out []*Handler
	for _, b := range blocks {
		if b.Task != nil {
			b.Task.Keywords = outer.Under(b.Task.Keywords)
			out = append(out, &Handler{Task: b.Task, Role: b.Task.Role})
			continue
		}
		if len(b.Rescue)+len(b.Always) > 0 {
			r.problems.Add(b.At, "", "a block among handlers has no rescue and no always: its tasks are handlers of their own")
		}
		out = append(out, r.flatten(b.Body, outer.Under(b.Keywords), p)...)
	}
	return out
}

// Under gives the keywords of something that stands inside what k belongs to, when inner are its own: the
// nearest wins, or they are added up or merged, as each keyword has it.
func (k Keywords) Under(inner Keywords) Keywords {
	out := inner
	for i, field := range out.nearest() {
		if field.IsZero() {
			*field = *k.nearest()[i]
		}
	}
	out.When = slices.Concat(k.When, inner.When)
	out.Tags = slices.Concat(k.Tags, inner.Tags)
	if len(inner.Notify) == 0 {
		out.Notify = k.Notify
	}
	out.Environment = slices.Concat(k.Environment, inner.Environment)
	out.Defaults = slices.Concat(k.Defaults, inner.Defaults)
	if k.Vars != nil {
		out.Vars = k.Vars.Over(inner.Vars)
	}
	return out
}

// nearest are the keywords of which the nearest counts.
func (k *Keywords) nearest() []*vars.Value {
	return []*vars.Value{
		&k.Become, &k.BecomeUser, &k.BecomeMethod, &k.Connection, &k.RemoteUser, &k.Port, &k.CheckMode, &k.Diff,
		&k.NoLog, &k.RunOnce, &k.IgnoreErrors, &k.IgnoreUnreachable, &k.AnyErrorsFatal, &k.Throttle, &k.Timeout,
		&k.DelegateTo, &k.DelegateFacts,
	}
}
