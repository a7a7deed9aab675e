package builtin

import (
	"context"
	"encoding/json"
	"path"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// Template writes a rendered template.
func Template() *modules.Module {
	m := modules.Define("template", `Write a file from a template

The template is a file of the control node, looked for in templates/, and sees the task's variables. A
variable that is not there is an error. The file is replaced in one step, and only when it differs.

    - name: configuration of the agent
      template:
        src: agent.conf.tmpl
        dest: /etc/agent/agent.conf
        mode: "0640"
        validate: /opt/agent/bin/agent --check %s`, proposeTemplate)
	m.Reads = func(raw json.RawMessage, _ string) (modules.Reading, error) {
		var args struct {
			Start  string   `json:"variable_start_string"`
			End    string   `json:"variable_end_string"`
			Delims []string `json:"delims"`
		}
		if err := json.Unmarshal(raw, &args); err != nil {
			return modules.Reading{}, err
		}
		delims, err := templateArgs{Start: args.Start, End: args.End, Delims: args.Delims}.delims()
		return modules.Reading{Template: true, Delims: delims}, err
	}
	return m
}

type templateArgs struct {
	Src  string `arg:"src,required,file=templates" doc:"the template, looked for in templates/"`
	Dest string `arg:"dest,path,required" doc:"the file on the host; when it is a folder, the template's name without .tmpl or .j2 is added"`
	ownership
	Mode     modules.Mode `arg:"mode,preserve" doc:"permissions, \"0644\", \"u=rw,go=r\" or preserve for those of the template; those that are there stay when it is not given"`
	Backup   bool         `arg:"backup" doc:"whether a file that is replaced is kept beside it, with the time in its name"`
	Force    bool         `arg:"force" default:"true" doc:"whether a file that is there is replaced when it differs"`
	Validate string       `arg:"validate" doc:"a command with %s for the new file; it must succeed before the file is replaced"`
	Start    string       `arg:"variable_start_string" doc:"what starts an action, in place of two braces"`
	End      string       `arg:"variable_end_string" doc:"what ends an action, in place of two braces"`
	Delims   []string     `arg:"delims" doc:"both of them as a list of two, such as [\"<%\", \"%>\"]"`
	Volatile bool         `arg:"volatile" doc:"whether the text may come out otherwise each time (now, uuidv4, rand…); such a task changes its host at each run"`
}

func proposeTemplate(ctx context.Context, call *modules.Call, args templateArgs) (*modules.Proposal, error) {
	delims, err := args.delims()
	if err != nil {
		return nil, err
	}
	text, source, err := render(call, args.Src, delims)
	if err != nil {
		return nil, err
	}
	base := path.Base(args.Src)
	for _, suffix := range []string{".tmpl", ".j2"} {
		base = strings.TrimSuffix(base, suffix)
	}
	owner := args.ownership
	owner.Mode = preserving(args.Mode, func() (uint32, bool) { return modules.ModeOf(source) })
	w := writing{dest: args.Dest, source: modules.Bytes(source.Name(), []byte(text)), ownership: owner, base: base, secret: modules.Encrypted(source),
		backup: args.Backup, once: !args.Force, validate: args.Validate}
	return w.propose(ctx, call)
}

func (a templateArgs) delims() ([2]string, error) {
	if len(a.Delims) == 0 {
		return [2]string{a.Start, a.End}, nil
	}
	if len(a.Delims) != 2 || a.Start != "" || a.End != "" {
		return [2]string{}, &modules.ArgumentError{Arg: "delims", Problem: "delims is not two texts, or stands beside variable_start_string",
			Hint: `write delims: ["<%", "%>"]`}
	}
	return [2]string{a.Delims[0], a.Delims[1]}, nil
}

// render reads a template of the control node and evaluates it; source is where it was found.
func render(call *modules.Call, src string, delims [2]string) (text string, source modules.Source, err error) {
	if source, err = call.Open("templates", src); err != nil {
		return "", nil, err
	}
	raw, err := readSource(source)
	if err != nil {
		return "", nil, err
	}
	text, err = call.Render(source.Name(), string(raw), delims)
	return text, source, err
}
