package playbook

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
)

// levels are the places where a keyword may stand.
type levels uint

const (
	onPlay     levels = 1 << iota
	onPlaybook        // import_playbook
	onRole            // an entry of roles:, a dependency of a role
	onBlock
	onTask
	onDynamic // include_tasks, include_role
	onStatic  // import_tasks, import_role
	onApply   // apply: of a dynamic include
	onHandler

	onTasks      = onTask | onHandler
	onAround     = onPlay | onRole | onBlock | onStatic | onApply
	onEverything = onAround | onTasks
)

// String names the levels for people.
func (l levels) String() string {
	names := []struct {
		level levels
		name  string
	}{
		{onPlay, "a play"}, {onPlaybook, "import_playbook"}, {onRole, "a role entry"}, {onBlock, "a block"},
		{onTask, "a task"}, {onDynamic, "an include"}, {onStatic, "an import"}, {onApply, "apply"},
		{onHandler, "a handler"},
	}
	var on []string
	for _, n := range names {
		if l&n.level != 0 {
			on = append(on, n.name)
		}
	}
	if len(on) < 2 {
		return strings.Join(on, "")
	}
	return strings.Join(on[:len(on)-1], ", ") + " or " + on[len(on)-1]
}

// entry is one key of a mapping with its value.
type entry struct{ key, value *yaml.Node }

func (e entry) name() string { return e.key.Value }

// target is what a keyword is set on; what does not apply is nil.
type target struct {
	place *place
	kw    *Keywords
	name  *vars.Value
	play  *Play
	block *Block
	task  *Task
}

// keyword is where a keyword may stand and how it is read.
type keyword struct {
	on  levels
	set func(r *reader, e entry, t target) // nil: read by the construct that it belongs to
	// refused says why the keyword is known but not accepted, with what to write instead.
	refused, hint string
}

// keywordTable is every keyword of the language.
func keywordTable() map[string]keyword {
	k := map[string]keyword{}
	addInherited(k)
	addPlayKeywords(k)
	addTaskKeywords(k)
	addRefused(k)
	return k
}

// addInherited adds what may stand on several levels.
func addInherited(k map[string]keyword) {
	add := func(name string, on levels, check checker, field func(*Keywords) *vars.Value) {
		k[name] = keyword{on: on, set: func(r *reader, e entry, t target) { *field(t.kw) = r.value(e, t.place, check) }}
	}
	add("become", onEverything, isBoolean, func(k *Keywords) *vars.Value { return &k.Become })
	add("become_user", onEverything, isText, func(k *Keywords) *vars.Value { return &k.BecomeUser })
	add("become_method", onEverything, isText, func(k *Keywords) *vars.Value { return &k.BecomeMethod })
	add("connection", onEverything, isConnection, func(k *Keywords) *vars.Value { return &k.Connection })
	add("remote_user", onEverything, isText, func(k *Keywords) *vars.Value { return &k.RemoteUser })
	add("port", onEverything, isWhole, func(k *Keywords) *vars.Value { return &k.Port })
	add("check_mode", onEverything, isBoolean, func(k *Keywords) *vars.Value { return &k.CheckMode })
	add("diff", onEverything, isBoolean, func(k *Keywords) *vars.Value { return &k.Diff })
	add("no_log", onEverything|onDynamic, isBoolean, func(k *Keywords) *vars.Value { return &k.NoLog })
	add("run_once", onEverything|onDynamic, isBoolean, func(k *Keywords) *vars.Value { return &k.RunOnce })
	add("ignore_errors", onEverything|onDynamic, isBoolean, func(k *Keywords) *vars.Value { return &k.IgnoreErrors })
	add("ignore_unreachable", onEverything, isBoolean, func(k *Keywords) *vars.Value { return &k.IgnoreUnreachable })
	add("any_errors_fatal", onEverything, isBoolean, func(k *Keywords) *vars.Value { return &k.AnyErrorsFatal })
	add("throttle", onEverything, isWhole, func(k *Keywords) *vars.Value { return &k.Throttle })
	add("timeout", onEverything|onDynamic, isNumber, func(k *Keywords) *vars.Value { return &k.Timeout })
	add("delegate_to", onEverything&^onPlay, isText, func(k *Keywords) *vars.Value { return &k.DelegateTo })
	add("delegate_facts", onEverything&^onPlay, isBoolean, func(k *Keywords) *vars.Value { return &k.DelegateFacts })

	k["when"] = keyword{on: onEverything&^onPlay | onDynamic | onPlaybook, set: func(r *reader, e entry, t target) {
		t.kw.When = r.conditions(e, t.place)
	}}
	k["tags"] = keyword{on: onEverything | onDynamic | onPlaybook, set: func(r *reader, e entry, t target) {
		t.kw.Tags = r.words(e, t.place)
	}}
	k["notify"] = keyword{on: onBlock | onTasks | onStatic | onApply, set: func(r *reader, e entry, t target) {
		t.kw.Notify = r.texts(e, t.place)
	}}
	k["vars"] = keyword{on: onEverything | onDynamic | onPlaybook, set: func(r *reader, e entry, t target) {
		t.kw.Vars = r.variables(e, t.place)
	}}
	k["environment"] = keyword{on: onEverything, set: func(r *reader, e entry, t target) {
		t.kw.Environment = r.environment(e, t.place)
	}}
	k["module_defaults"] = keyword{on: onEverything, set: func(r *reader, e entry, t target) {
		t.kw.Defaults = r.moduleDefaults(e, t.place)
	}}
	k["name"] = keyword{on: onEverything | onDynamic | onPlaybook, set: func(r *reader, e entry, t target) {
		if t.name != nil {
			*t.name = r.value(e, t.place, isText)
		}
	}}
}

// addTaskKeywords adds what only tasks and blocks have.
func addTaskKeywords(k map[string]keyword) {
	value := func(name string, on levels, check checker, field func(*Task) *vars.Value) {
		k[name] = keyword{on: on, set: func(r *reader, e entry, t target) { *field(t.task) = r.value(e, t.place, check) }}
	}
	conditions := func(name string, field func(*Task) *[]vars.Expr) {
		k[name] = keyword{on: onTasks, set: func(r *reader, e entry, t target) { *field(t.task) = r.conditions(e, t.place) }}
	}
	value("loop", onTasks|onDynamic, isList, func(t *Task) *vars.Value { return &t.Loop })
	value("retries", onTasks, isWhole, func(t *Task) *vars.Value { return &t.Retries })
	value("delay", onTasks, isNumber, func(t *Task) *vars.Value { return &t.Delay })
	value("async", onTasks, isWhole, func(t *Task) *vars.Value { return &t.Async })
	value("poll", onTasks, isWhole, func(t *Task) *vars.Value { return &t.Poll })
	conditions("until", func(t *Task) *[]vars.Expr { return &t.Until })
	conditions("changed_when", func(t *Task) *[]vars.Expr { return &t.ChangedWhen })
	conditions("failed_when", func(t *Task) *[]vars.Expr { return &t.FailedWhen })
	k["loop_control"] = keyword{on: onTasks | onDynamic, set: func(r *reader, e entry, t target) { r.loopControl(e, t) }}
	k["register"] = keyword{on: onTasks | onDynamic, set: func(r *reader, e entry, t target) {
		t.task.Register = r.identifier(e, t.place)
	}}
	k["parallel"] = keyword{on: onBlock, set: func(r *reader, e entry, t target) { t.block.Parallel = r.boolean(e, t.place) }}
	for _, name := range []string{"block", "rescue", "always"} {
		k[name] = keyword{on: onBlock}
	}
	for _, name := range []string{"args", "local_action", "meta"} {
		k[name] = keyword{on: onTasks}
	}
	k["gate"] = keyword{on: onTask}
	k["listen"] = keyword{on: onHandler}
	k["include_tasks"], k["include_role"] = keyword{on: onDynamic}, keyword{on: onDynamic}
	k["import_tasks"], k["import_role"] = keyword{on: onStatic}, keyword{on: onStatic}
	k["import_playbook"] = keyword{on: onPlaybook}
	k["role"] = keyword{on: onRole}
}

// addRefused adds the keywords of Ansible and of pegbook's language that are not accepted.
func addRefused(k map[string]keyword) {
	foreign := func(on levels, name, hint string) {
		k[name] = keyword{on: on, refused: name + " is not part of pegbook's language", hint: hint}
	}
	foreign(onTasks, "action", "write the module as a key of the task: command: /bin/true")
	foreign(onEverything, "collections", "modules have plain names here; remove it")
	foreign(onEverything, "debugger", "use -v, or debug tasks")
	foreign(onEverything, "become_flags", "set the variable ansible_become_flags")
	foreign(onEverything, "become_exe", "set the variable ansible_become_exe")
	foreign(onPlay, "fact_path", "remove it")
	foreign(onPlay, "gather_timeout", "remove it")
}

// checker says what a value must be when it is no template; "" when it is.
type checker func(d vars.Data) string

func isText(d vars.Data) string {
	switch d.Kind() {
	case "list", "mapping":
		return "text"
	}
	return ""
}

func isConnection(d vars.Data) string {
	switch strings.TrimPrefix(d.Text(), "ansible.builtin.") {
	case "ssh", "local", "smart", "paramiko", "paramiko_ssh":
		return ""
	}
	return "ssh or local"
}

func isBoolean(d vars.Data) string {
	if d.Kind() != "boolean" {
		return "true or false"
	}
	return ""
}

func isWhole(d vars.Data) string {
	if _, err := d.Int(); err != nil {
		return "a whole number"
	}
	return ""
}

func isNumber(d vars.Data) string {
	if d.Kind() == "float" {
		return ""
	}
	return isWhole(d)
}

func isList(d vars.Data) string {
	if d.Kind() != "list" {
		return "a list"
	}
	return ""
}

// share is a number of hosts or a percentage of them.
var share = regexp.MustCompile(`^-?\d+%?$`)

func isShare(d vars.Data) string {
	if d.Kind() == "integer" || d.Kind() == "string" && share.MatchString(d.Text()) {
		return ""
	}
	return `a number or a percentage such as "30%"`
}

func isShares(d vars.Data) string {
	items, ok := d.List()
	if !ok {
		return isShare(d)
	}
	for _, item := range items {
		if isShare(item) != "" {
			return `a number, a percentage such as "30%", or a list of these`
		}
	}
	return ""
}

func isPercentage(d vars.Data) string {
	text := strings.TrimSuffix(d.Text(), "%")
	if _, err := strconv.ParseFloat(text, 64); err != nil || d.Kind() == "boolean" {
		return "a percentage such as 30"
	}
	return ""
}

// value reads a keyword's value and checks its type as far as it is known.
func (r *reader) value(e entry, p *place, check checker) vars.Value {
	if isNull(e.value) {
		return vars.Value{}
	}
	before := len(*r.problems)
	v := vars.FromNode(e.value, p.file, r.problems)
	if len(*r.problems) > before {
		return vars.Value{}
	}
	if want := wrongType(v, check); want != "" {
		if yes, ok := booleanWord(e.value); ok && check(vars.Of(yes)) == "" { // in quotes, which Ansible takes as well
			return vars.Literal(vars.Of(yes))
		}
		r.problems.Add(p.at(e.value), "", "%s takes %s, not %s", e.name(), want, describe(e.value))
		return vars.Value{}
	}
	return v
}

// wrongType is what a value must be and is not; "" when it is well, or known only in the run.
func wrongType(v vars.Value, check checker) string {
	d, static := v.Static()
	if !static {
		return ""
	}
	return check(d)
}

// booleanWord is the boolean that YAML 1.1, and so Ansible, reads in a word; false when it is another word.
func booleanWord(n *yaml.Node) (value, ok bool) {
	if n.Kind != yaml.ScalarNode {
		return false, false
	}
	switch strings.ToLower(n.Value) {
	case "yes", "on", "true":
		return true, true
	case "no", "off", "false":
		return false, true
	}
	return false, false
}

// boolean reads a keyword that takes no template.
func (r *reader) boolean(e entry, p *place) bool {
	d, static := r.value(e, p, isBoolean).Static()
	if !static {
		if isTemplate(e.value) {
			r.problems.Add(p.at(e.value), "", "%s takes true or false, not a template", e.name())
		}
		return false
	}
	b, err := d.Bool()
	return err == nil && b
}

// constant reads a keyword that is plain text without templates, one of choices when there are any.
func (r *reader) constant(e entry, p *place, choices ...string) string {
	if e.value.Kind != yaml.ScalarNode || isNull(e.value) || isTemplate(e.value) {
		r.problems.Add(p.at(e.value), oneOf(choices), "%s takes plain text, not %s", e.name(), describe(e.value))
		return ""
	}
	if len(choices) > 0 && !slices.Contains(choices, e.value.Value) {
		r.problems.Add(p.at(e.value), diag.DidYouMean(e.value.Value, choices), "there is no %s %q", e.name(), e.value.Value)
		return ""
	}
	return e.value.Value
}

// constants reads a list of plain texts, or one.
func (r *reader) constants(e entry, p *place) []string {
	out := []string{}
	for _, n := range items(e.value) {
		if text := r.constant(entry{e.key, n}, p); text != "" {
			out = append(out, text)
		}
	}
	return out
}

func oneOf(choices []string) string {
	if len(choices) == 0 {
		return ""
	}
	return "choose from " + strings.Join(choices, ", ")
}

// identifierForm is what variables may be called. The words of Go's templates are no exception: a field
// may be called range.
var identifierForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// identifier reads the name of a variable.
func (r *reader) identifier(e entry, p *place) string {
	name := r.constant(e, p)
	if name != "" && !identifierForm.MatchString(name) {
		r.problems.Add(p.at(e.value), "use letters, digits and _, not beginning with a digit", "%q is no name for a variable", name)
		return ""
	}
	return name
}

// loopControl reads loop_control.
func (r *reader) loopControl(e entry, t target) {
	for _, e := range r.entries(e, t.place) {
		switch e.name() {
		case "loop_var":
			t.task.LoopControl.Var = r.identifier(e, t.place)
		case "index_var":
			t.task.LoopControl.Index = r.identifier(e, t.place)
		case "label":
			t.task.LoopControl.Label = r.value(e, t.place, func(vars.Data) string { return "" })
		case "pause":
			t.task.LoopControl.Pause = r.seconds(e, t.place)
		case "extended":
			t.task.LoopControl.Extended = r.boolean(e, t.place)
		default:
			r.unknownKey(e, t.place, "loop_control", keysOf("loop_control"))
		}
	}
}

// seconds reads a length of time that is no template.
func (r *reader) seconds(e entry, p *place) time.Duration {
	s, err := strconv.ParseFloat(e.value.Value, 64)
	if err != nil || s < 0 || s > 1e9 {
		r.problems.Add(p.at(e.value), "", "%s takes a number of seconds, not %s", e.name(), describe(e.value))
		return 0
	}
	return time.Duration(s * float64(time.Second))
}

// unknownKey reports a key that a mapping does not have.
func (r *reader) unknownKey(e entry, p *place, in string, known []string) {
	r.lost = r.lost || BringsIn(e.name()) || BringsIn(in)
	r.problems.Add(p.at(e.key), diag.DidYouMean(e.name(), known), "%s has no %q", in, e.name())
}

// describe says what a node is.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	if isNull(n) {
		return "nothing"
	}
	text := n.Value
	if len(text) > 40 {
		text = text[:37] + "..."
	}
	return fmt.Sprintf("%q", text)
}
