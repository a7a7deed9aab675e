package runner

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/playbook"
	"github.com/pegbook/pegbook/runner/vars"
)

// checkSpec checks a role's arguments as far as they are known before the run: those that nothing can
// override, given with the role or with -e.
func (c *compiler) checkSpec(r *row) {
	spec := r.task.Spec
	var b vars.Stack
	push(&b, r.layers...)
	b.Push(vars.ExtraVars, c.plan.in.Extra)
	s := b.Scope(nil)
	for _, o := range spec.Options {
		layer, at, ok := s.Origin(o.Name)
		if !ok || layer < vars.RoleParams {
			continue
		}
		d, defined, err := s.Lookup(o.Name)
		if err != nil || !defined || d.IsUnknown() || templated(r, c, o.Name) {
			continue
		}
		var bad complaints
		bad.value(o, d, nil)
		for _, text := range bad {
			c.problems.Add(at, "the role's argument specification is at "+o.At.String(), "role %s: %s", r.frame.role.Name, text)
		}
	}
	for _, name := range r.frame.role.Params.Names() {
		if option(spec, name) == nil {
			v, _ := r.frame.role.Params.Get(name)
			c.problems.Add(v.Position(), diag.DidYouMean(name, optionNames(spec)), "role %s specifies its arguments, and %q is none of them", r.frame.role.Name, name)
		}
	}
}

// required finds arguments that a role needs and nothing can define.
func (l *look) required() {
	role := l.r.frame.role
	for _, o := range l.r.task.Spec.Options {
		if o.Required && !o.HasDefault && !l.all.has(o.Name) && !l.all.open && !l.told[role.At] {
			l.told[role.At] = true
			l.problems.Add(role.At, "its argument specification is at "+o.At.String(), "role %s requires %q, which nothing defines", role.Name, o.Name)
		}
	}
}

// templated says whether the value that a row sees of a variable depends on others.
func templated(r *row, c *compiler, name string) bool {
	if v, ok := c.plan.in.Extra.Get(name); ok {
		return v.Templated()
	}
	for _, l := range slices.Backward(r.layers) {
		if v, ok := l.vars.Get(name); ok && l.layer >= vars.RoleParams {
			return v.Templated()
		}
	}
	return true
}

func option(spec *playbook.ArgumentSpec, name string) *playbook.RoleOption {
	i := slices.IndexFunc(spec.Options, func(o *playbook.RoleOption) bool { return o.Name == name || slices.Contains(o.Aliases, name) })
	if i < 0 {
		return nil
	}
	return spec.Options[i]
}

func optionNames(spec *playbook.ArgumentSpec) []string {
	var names []string
	for _, o := range spec.Options {
		names = append(names, o.Name)
	}
	return names
}

// validate is the step that checks a role's arguments on a host.
func (st *step) validate(s *vars.Scope, res *result) {
	spec := st.row.task.Spec
	given := arguments{}
	for _, o := range spec.Options {
		d, ok, err := s.Lookup(o.Name)
		if err != nil {
			res.fail(err)
			return
		}
		if ok {
			given[o.Name] = d
		}
	}
	params := st.row.frame.role.Params
	for _, name := range params.Names() {
		d, _, err := s.Lookup(name)
		if err != nil {
			res.fail(err)
			return
		}
		given[name] = d
	}
	var bad complaints
	bad.arguments(spec, given, nil)
	if len(bad) == 0 {
		res.msg = "The arg spec validation passed"
		return
	}
	res.fail(fmt.Errorf("Validation of arguments failed:\n%s", strings.Join(bad, "\n"))) //nolint:staticcheck // ST1005: Ansible's words, which playbooks show
	res.set("argument_errors", vars.Of([]string(bad)))
}

// arguments are values by the names of options.
type arguments map[string]vars.Data

// complaints are what is wrong with arguments, in Ansible's words where it has some.
type complaints []string

func (c *complaints) add(path []string, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if len(path) > 0 {
		text += " found in " + strings.Join(path, " -> ")
	}
	*c = append(*c, text)
}

// arguments checks values against what is specified. path is the options that they are inside of.
func (c *complaints) arguments(spec *playbook.ArgumentSpec, given arguments, path []string) {
	unknown := map[string]bool{}
	all := arguments{}
	for name, d := range given {
		if o := option(spec, name); o != nil {
			all[o.Name] = d
		} else {
			unknown[name] = true
		}
	}
	for _, name := range sortedNames(unknown) {
		c.add(path, "%s. Supported parameters include: %s.", name, strings.Join(optionNames(spec), ", "))
	}
	c.exclusive(spec, all, path)
	missing := []string{}
	for _, o := range spec.Options {
		if _, ok := all[o.Name]; !ok && o.HasDefault {
			all[o.Name] = o.Default
		}
		if d, ok := all[o.Name]; o.Required && (!ok || d.Kind() == "null") {
			missing = append(missing, o.Name)
		}
	}
	if slices.Sort(missing); len(missing) > 0 {
		c.add(path, "missing required arguments: %s", strings.Join(missing, ", "))
	}
	for _, o := range spec.Options {
		if d, ok := all[o.Name]; ok && d.Kind() != "null" {
			c.value(o, d, path)
		} else if o.ApplyDefaults && o.Keys != nil {
			c.arguments(o.Keys, arguments{}, inside(path, o.Name))
		}
	}
	c.required(spec, all, path)
}

func inside(path []string, name string) []string { return append(slices.Clip(path), name) }

func sortedNames(set map[string]bool) []string {
	var names []string
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (a arguments) count(names []string) (n int) {
	for _, name := range names {
		if d, ok := a[name]; ok && d.Kind() != "null" {
			n++
		}
	}
	return n
}

func (c *complaints) exclusive(spec *playbook.ArgumentSpec, all arguments, path []string) {
	for _, names := range spec.MutuallyExclusive {
		if all.count(names) > 1 {
			c.add(path, "parameters are mutually exclusive: %s", strings.Join(names, "|"))
		}
	}
}

// required checks what options demand of each other.
func (c *complaints) required(spec *playbook.ArgumentSpec, all arguments, path []string) {
	for _, names := range spec.RequiredTogether {
		if n := all.count(names); n > 0 && n < len(names) {
			c.add(path, "parameters are required together: %s", strings.Join(names, ", "))
		}
	}
	for _, names := range spec.RequiredOneOf {
		if all.count(names) == 0 {
			c.add(path, "one of the following is required: %s", strings.Join(names, ", "))
		}
	}
	for _, r := range spec.RequiredIf {
		d, ok := all[r.Name]
		have, word := all.count(r.Names), "all"
		if r.Any {
			word = "any"
		}
		if !ok || d.Text() != r.Value.Text() || have == len(r.Names) || r.Any && have > 0 {
			continue
		}
		missing := slices.DeleteFunc(slices.Clone(r.Names), func(n string) bool { return all.count([]string{n}) > 0 })
		c.add(path, "%s is %s but %s of the following are missing: %s", r.Name, r.Value.Text(), word, strings.Join(missing, ", "))
	}
	for _, r := range spec.RequiredBy {
		missing := slices.DeleteFunc(slices.Clone(r.Names), func(n string) bool { return all.count([]string{n}) > 0 })
		if all.count([]string{r.Name}) > 0 && len(missing) > 0 {
			c.add(path, "missing parameter(s) required by '%s': %s", r.Name, strings.Join(missing, ", "))
		}
	}
}

// value checks one option's value: its type, its choices, and what is inside.
func (c *complaints) value(o *playbook.RoleOption, d vars.Data, path []string) {
	list, err := converted(o.Type, d)
	if err != nil {
		c.add(path, "argument '%s' is of type %s and we were unable to convert to %s: %v", o.Name, d.Kind(), firstOf(o.Type, "str"), err)
		return
	}
	if o.Elements != "" {
		for _, element := range list {
			if _, err := converted(o.Elements, element); err != nil {
				c.add(path, "Elements value for option '%s' is of type %s and we were unable to convert to %s: %v", o.Name, element.Kind(), o.Elements, err)
			}
		}
	}
	c.choices(o, d, list, path)
	if o.Keys == nil {
		return
	}
	if list == nil {
		list = []vars.Data{d}
	}
	for _, element := range list {
		if element.Kind() != "mapping" {
			c.add(path, "value of '%s' must be of type dict or list of dicts", o.Name)
			continue
		}
		given := arguments{}
		for _, key := range element.Keys() {
			given[key], _ = element.Get(key)
		}
		c.arguments(o.Keys, given, inside(path, o.Name))
	}
}

func (c *complaints) choices(o *playbook.RoleOption, d vars.Data, list []vars.Data, path []string) {
	if o.Choices == nil {
		return
	}
	texts := func(all []vars.Data) string {
		var words []string
		for _, d := range all {
			words = append(words, d.Text())
		}
		return strings.Join(words, ", ")
	}
	chosen := func(d vars.Data) bool {
		return slices.ContainsFunc(o.Choices, func(choice vars.Data) bool { return choice.Text() == d.Text() })
	}
	if o.Type == "list" {
		if wrong := slices.DeleteFunc(slices.Clone(list), chosen); len(wrong) > 0 {
			c.add(path, "value of %s must be one or more of: %s. Got no match for: %s", o.Name, texts(o.Choices), texts(wrong))
		}
	} else if !chosen(d) {
		c.add(path, "value of %s must be one of: %s, got: %s", o.Name, texts(o.Choices), d.Text())
	}
}

// converted says whether a value can be taken as a type, as Ansible takes it; of a list it gives the elements.
func converted(as string, d vars.Data) ([]vars.Data, error) {
	kind := d.Kind()
	cannot := fmt.Errorf("%s cannot be converted to %s", kind, as)
	text := strings.TrimSpace(d.Text())
	switch as {
	case "", "str", "path", "raw", "json", "jsonarg":
		return nil, nil
	case "int":
		if _, err := strconv.ParseInt(text, 10, 64); kind != "integer" && kind != "boolean" && (kind != "string" || err != nil) {
			return nil, cannot
		}
	case "float":
		if _, err := strconv.ParseFloat(text, 64); kind != "integer" && kind != "float" && (kind != "string" || err != nil) {
			return nil, cannot
		}
	case "bool":
		if _, err := modules.ParseBool(text); kind != "boolean" && err != nil {
			return nil, cannot
		}
	case "list":
		return asList(d, cannot)
	case "dict":
		if kind != "mapping" && !isMappingText(kind, text) {
			return nil, cannot
		}
	case "bytes", "bits":
		if !isSize(text) {
			return nil, cannot
		}
	}
	return nil, nil
}

func asList(d vars.Data, cannot error) ([]vars.Data, error) {
	switch d.Kind() {
	case "list":
		list, _ := d.List()
		return slices.Concat([]vars.Data{}, list), nil
	case "string":
		var parts []vars.Data
		for part := range strings.SplitSeq(d.Text(), ",") {
			parts = append(parts, vars.Of(part))
		}
		return parts, nil
	case "integer", "float":
		return []vars.Data{vars.Of(d.Text())}, nil
	}
	return nil, cannot
}

// isMappingText says whether a text stands for a mapping: JSON, or name=value pairs.
func isMappingText(kind, text string) bool {
	if kind != "string" {
		return false
	}
	if strings.HasPrefix(text, "{") {
		var fields map[string]json.RawMessage
		return json.Unmarshal([]byte(text), &fields) == nil
	}
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		if !strings.Contains(word, "=") {
			return false
		}
	}
	return text != ""
}

// isSize says whether a text is a number with a unit of size, such as 10MB or 1.5 G.
func isSize(text string) bool {
	number := strings.TrimRight(strings.ToUpper(text), "BITES")
	number = strings.TrimSpace(strings.TrimRight(number, "KMGTPEZY"))
	_, err := strconv.ParseFloat(number, 64)
	return err == nil
}
