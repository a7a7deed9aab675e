package builtin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// Debug shows something.
func Debug() *modules.Module {
	return modules.Define("debug", `Show a message or a variable

Never contacts the host and never changes anything. A variable that is not there is no error; the answer
says so.

    - name: what is installed
      debug:
        msg: "version {{ .pegasus_version }}"

    - name: only with -vv
      debug:
        var: result.stdout
        verbosity: 2`, proposeDebug)
}

type debugArgs struct {
	Msg       json.RawMessage `arg:"msg" doc:"what to show: text, a list or a mapping"`
	Var       string          `arg:"var" doc:"a variable such as result.stdout, or an expression, to show with its value"`
	Verbosity int             `arg:"verbosity" min:"0" doc:"how many -v the run needs to have for the task to do anything"`
}

type shownMessage struct {
	Msg json.RawMessage `json:"msg"`
}

// variablePath matches what Ansible users write for a variable: no leading dot.
const variablePath = `^\.?([A-Za-z_]\w*(?:\.\w+)*)$`

func proposeDebug(_ context.Context, call *modules.Call, args debugArgs) (*modules.Proposal, error) {
	if args.Msg != nil && args.Var != "" {
		return nil, &modules.ArgumentError{Arg: "var", Problem: "msg and var exclude each other", Hint: "give one of them"}
	}
	if args.Verbosity > call.Verbosity {
		return &modules.Proposal{Skip: true, Message: fmt.Sprintf("shown with %d -v", args.Verbosity)}, nil
	}
	if args.Var == "" {
		if args.Msg == nil {
			args.Msg = json.RawMessage(`"Hello world!"`)
		}
		return &modules.Proposal{Output: shownMessage{args.Msg}, Message: plain(args.Msg)}, nil
	}
	value, err := variable(call, args.Var)
	if err != nil {
		return nil, err
	}
	return &modules.Proposal{Output: map[string]json.RawMessage{args.Var: value}, Message: args.Var + ": " + plain(value)}, nil
}

// variable evaluates a variable path, which may be undefined, or any other expression.
func variable(call *modules.Call, text string) (json.RawMessage, error) {
	path := regexp.MustCompile(variablePath).FindStringSubmatch(text)
	if path == nil {
		return call.Eval(modules.Expr(text))
	}
	defined, err := call.Eval(modules.Expr(fmt.Sprintf("defined %q", path[1])))
	if err != nil {
		return nil, err
	}
	if string(defined) != "true" {
		return json.RawMessage(`"VARIABLE IS NOT DEFINED!"`), nil
	}
	return call.Eval(modules.Expr("." + path[1]))
}

// plain is a JSON text without its quotes, anything else as JSON with a space after each comma and colon, as
// templates print it.
func plain(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil {
		return string(raw)
	}
	var out strings.Builder
	quoted, escaped := false, false
	for _, c := range compact.String() {
		out.WriteRune(c)
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == ':'):
			out.WriteByte(' ')
		}
	}
	return out.String()
}
