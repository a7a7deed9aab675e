package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// RenderConfig writes a configuration file from a template and checks it.
func RenderConfig() *modules.Module {
	m := modules.Define("render_config", `Write a configuration file from a template, and check it first

The template is of Pegasus' kind: every %{name} is replaced by a variable, whose name is the marker's with
_ for each dot, so %{meta.server.list} is meta_server_list; values gives others, by the marker's name. A
list is joined with commas. Whatever marker is left fails the task, each named with its line and column.
With format template it is a Go template as for template.

Before anything is written the result is checked: a file of ini syntax must have it, lists of servers hold
ip:port only (Pegasus takes no host names), data_dirs holds name:path pairs with no name or path twice.
The file is replaced in one step and the one before is kept beside it as .previous.

    - name: config.ini
      render_config:
        src: config.ini
        dest: /home/work/app/pegasus/config.ini
        values:
          slog.dir: ""
      notify: restart`, proposeRenderConfig)
	m.Reads = readConfig
	return m
}

// readConfig says what a template uses, of whichever kind it is.
func readConfig(raw json.RawMessage, text string) (modules.Reading, error) {
	var args struct {
		Format string                     `json:"format"`
		Values map[string]json.RawMessage `json:"values"`
	}
	if err := json.Unmarshal(raw, &args); err != nil || args.Format == "template" {
		return modules.Reading{Template: args.Format == "template"}, err
	}
	var uses modules.Reading
	for _, at := range regexp.MustCompile(marker).FindAllStringSubmatchIndex(text, -1) {
		if at[2] < 0 {
			continue
		}
		name := text[at[2]:at[3]]
		if _, given := args.Values[name]; !given {
			uses.Variables = append(uses.Variables, modules.Mention{Variable: markerVariable(name), Text: text[at[0]:at[1]], Offset: at[2]})
		}
	}
	return uses, nil
}

// markerVariable is the variable that a marker means.
func markerVariable(name string) string { return strings.NewReplacer(".", "_", "-", "_").Replace(name) }

type renderConfigArgs struct {
	Src  string `arg:"src,required,file=templates" doc:"the template, looked for in templates/; with remote_src an absolute path on the host"`
	Dest string `arg:"dest,path,required" doc:"the file to write"`
	ownership
	Format    string                     `arg:"format" default:"pegasus" choices:"pegasus,template" doc:"what the template is"`
	Values    map[string]json.RawMessage `arg:"values" doc:"values by marker, before the variables"`
	RemoteSrc bool                       `arg:"remote_src" doc:"whether the template is on the host, such as the one in an unpacked package; costs a round trip"`
	Append    string                     `arg:"append" doc:"text to add behind the rendered template, such as a section of its own; rendered as well"`
	Syntax    string                     `arg:"syntax" default:"auto" choices:"auto,ini,none" doc:"what to check the result as; auto takes the file's name"`
	Checks    bool                       `arg:"checks" default:"true" doc:"whether the values of lists of servers and directories are checked"`
	Previous  bool                       `arg:"keep_previous" default:"true" doc:"whether the file that is replaced is kept as .previous"`
	Backup    bool                       `arg:"backup" doc:"whether it is kept with the time in its name as well"`
	Validate  string                     `arg:"validate" doc:"a command with %s for the new file; it must succeed before the file is replaced"`
	Volatile  bool                       `arg:"volatile" doc:"whether the text may come out otherwise each time (now, uuidv4, rand…); such a task changes its host at each run"`
}

// ConfigError is everything that is wrong with a configuration.
type ConfigError struct {
	File     string
	Problems []string
}

// Error lists the problems, one a line.
func (e *ConfigError) Error() string {
	if len(e.Problems) == 1 {
		return e.Problems[0]
	}
	return fmt.Sprintf("%s has %d problems:\n%s", path.Base(e.File), len(e.Problems), indent(strings.Join(e.Problems, "\n")))
}

func proposeRenderConfig(ctx context.Context, call *modules.Call, args renderConfigArgs) (*modules.Proposal, error) {
	text, name, err := args.template(ctx, call)
	if err != nil {
		return nil, err
	}
	if args.Append != "" {
		text = strings.TrimRight(text, "\n") + "\n\n" + args.Append
		if !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
	}
	rendered, problems, err := args.render(call, name, text)
	if err != nil {
		return nil, err
	}
	if len(problems) == 0 {
		problems = args.check(name, rendered)
	}
	if len(problems) > 0 {
		return nil, &ConfigError{File: name, Problems: problems}
	}
	w := writing{dest: args.Dest, source: modules.Bytes(name, []byte(rendered)), ownership: args.ownership,
		backup: args.Backup, previous: args.Previous, validate: args.Validate}
	return w.propose(ctx, call)
}

// maxTemplate is how large a template on the host may be.
const maxTemplate = 4 << 20

// template reads the template and its name.
func (a renderConfigArgs) template(ctx context.Context, call *modules.Call) (text, name string, err error) {
	if !a.RemoteSrc {
		source, err := call.Open("templates", a.Src)
		if err != nil {
			return "", "", err
		}
		raw, err := readSource(source)
		return string(raw), source.Name(), err
	}
	if !path.IsAbs(a.Src) {
		return "", "", &modules.ArgumentError{Arg: "src", Problem: "src is a relative path", Hint: "with remote_src, write an absolute one"}
	}
	files, err := call.Host.Look(ctx, modules.Query{Path: a.Src, Follow: true, Content: maxTemplate})
	if err != nil {
		return "", "", err
	}
	if files[0].Kind != modules.Regular || files[0].Truncated {
		return "", "", fmt.Errorf("%s on the host is no file of at most %d bytes", a.Src, maxTemplate)
	}
	return string(files[0].Content), a.Src, nil
}

// render replaces the markers. Problems are those of the template, all of them; err is anything else.
func (a renderConfigArgs) render(call *modules.Call, name, text string) (rendered string, problems []string, err error) {
	if a.Format == "template" {
		rendered, err = call.Render(name, text, [2]string{})
		return rendered, nil, err
	}
	m := markers{name: name, values: a.Values, eval: call.Eval, found: map[string]string{}}
	return m.replace(text)
}

// marker is what Pegasus' templates hold; the second form catches one without an end.
const marker = `%\{([^{}\n]*)\}|%\{`

// markers replaces the markers of one template.
type markers struct {
	name   string
	values map[string]json.RawMessage
	eval   func(modules.Expr) (json.RawMessage, error)
	found  map[string]string
}

func (m markers) replace(text string) (string, []string, error) {
	var out strings.Builder
	var problems []string
	rest := 0
	for _, at := range regexp.MustCompile(marker).FindAllStringSubmatchIndex(text, -1) {
		place := position(m.name, text, at[0])
		out.WriteString(text[rest:at[0]])
		rest = at[1]
		if at[2] < 0 {
			problems = append(problems, place+": %{ has no } on its line")
			continue
		}
		value, problem, err := m.value(text[at[2]:at[3]])
		switch {
		case err != nil:
			return "", nil, fmt.Errorf("%s: %w", place, err)
		case problem != "":
			problems = append(problems, place+": "+problem)
		case strings.Contains(value, "%{"):
			problems = append(problems, fmt.Sprintf("%s: the value of %s holds a marker itself: %s", place, text[at[0]:at[1]], value))
		case strings.ContainsAny(value, "\r\n"):
			problems = append(problems, fmt.Sprintf("%s: the value of %s has a line break", place, text[at[0]:at[1]]))
		}
		out.WriteString(value)
	}
	out.WriteString(text[rest:])
	return out.String(), problems, nil
}

// value looks a marker up, once.
func (m markers) value(name string) (value, problem string, err error) {
	if value, ok := m.found[name]; ok {
		return value, "", nil
	}
	raw, ok := m.values[name]
	if !ok {
		variable := markerVariable(name)
		if !regexp.MustCompile(identifier).MatchString(variable) {
			return "", fmt.Sprintf("%%{%s} is no marker: a name has letters, digits, dots and _", name), nil
		}
		defined, err := m.eval(modules.Expr(fmt.Sprintf("defined %q", variable)))
		if err != nil {
			return "", "", err
		}
		if string(defined) != "true" {
			return "", fmt.Sprintf("%%{%s} has no value; set the variable %s, or values", name, variable), nil
		}
		if raw, err = m.eval(modules.Expr("." + variable)); err != nil {
			return "", "", err
		}
	}
	value, err = markerText(raw)
	if err != nil {
		return "", fmt.Sprintf("%%{%s}: %v", name, err), nil
	}
	m.found[name] = value
	return value, "", nil
}

// markerText is a value as a configuration file has it: lists joined with commas.
func markerText(raw json.RawMessage) (string, error) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil && len(raw) > 0 && raw[0] == '[' {
		texts := make([]string, len(list))
		for i, item := range list {
			text, err := markerText(item)
			if err != nil {
				return "", err
			}
			texts[i] = text
		}
		return strings.Join(texts, ","), nil
	}
	if len(raw) > 0 && raw[0] == '{' {
		return "", errors.New("the value is a mapping; give a text or a list")
	}
	if string(raw) == "null" {
		return "", nil
	}
	return plain(raw), nil
}

// position is file:line:column of an offset.
func position(file, text string, offset int) string {
	line := 1 + strings.Count(text[:offset], "\n")
	column := offset - strings.LastIndexByte(text[:offset], '\n')
	return fmt.Sprintf("%s:%d:%d", file, line, column)
}

// check reads the result as the program will.
func (a renderConfigArgs) check(name, text string) []string {
	ini := a.Syntax == "ini" || a.Syntax == "auto" && (path.Ext(a.Dest) == ".ini" || a.Format == "pegasus")
	if !ini {
		return nil
	}
	entries, problems := parseINI(name, text)
	if !a.Checks {
		return problems
	}
	for _, e := range entries {
		if problem := e.check(); problem != "" {
			problems = append(problems, fmt.Sprintf("%s: [%s] %s: %s", e.at, e.section, e.key, problem))
		}
	}
	return problems
}
