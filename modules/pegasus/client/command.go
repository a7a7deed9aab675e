package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// CommandAnswer is what a server said to a remote command: plain text up to 2.5, mostly JSON from 2.6 on.
type CommandAnswer struct {
	Text string
}

// fields gives the members of an answer that is a JSON object.
func (a CommandAnswer) fields() map[string]json.RawMessage {
	var m map[string]json.RawMessage
	if !strings.HasPrefix(strings.TrimSpace(a.Text), "{") || json.Unmarshal([]byte(a.Text), &m) != nil {
		return nil
	}
	return m
}

func plainJSON(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// Accepted says whether a command that sets something was carried out.
func (a CommandAnswer) Accepted() bool {
	text := strings.TrimSpace(a.Text)
	if m := a.fields(); m != nil {
		return strings.EqualFold(plainJSON(m["error"]), "ok")
	}
	switch {
	case text == "OK", strings.HasPrefix(text, "OK,"), text == "set ok", text == "clear ok", text == "ERR_OK", text == "Flush done.":
		return true
	}
	return strings.HasPrefix(text, "get ok")
}

// Refused says whether the text is an error: an unknown command, bad arguments, an error's name.
func (a CommandAnswer) Refused() bool {
	text := strings.TrimSpace(a.Text)
	if m := a.fields(); m != nil {
		e, ok := m["error"]
		return ok && !strings.EqualFold(plainJSON(e), "ok")
	}
	return text == "" || a.Unknown() || strings.HasPrefix(text, "ERR:") || strings.HasPrefix(text, "invalid argument") ||
		strings.HasPrefix(text, "ERR_") && text != "ERR_OK"
}

// Unknown says whether the server has no such command, as a meta server that does not lead has none of
// those of the balancer.
func (a CommandAnswer) Unknown() bool { return strings.HasPrefix(a.Text, "unknown command") }

// Value is the value of a setting that was asked for by its command; false when there is none.
func (a CommandAnswer) Value(command string) (string, bool) {
	if a.Refused() {
		return "", false
	}
	if m := a.fields(); m != nil {
		raw, ok := m[command]
		if !ok {
			raw, ok = m[command[strings.LastIndexByte(command, '.')+1:]]
		}
		return plainJSON(raw), ok
	}
	text := strings.TrimSpace(a.Text)
	if rest, ok := strings.CutPrefix(text, "get ok:"); ok {
		return strings.TrimSpace(rest), true
	}
	if _, value, ok := strings.Cut(text, "="); ok {
		return strings.TrimSpace(value), true
	}
	return text, true
}

// CommandError is a remote command that the server refused.
type CommandError struct {
	Addr, Command, Text string
}

// Error is the command and the server's own words.
func (e *CommandError) Error() string {
	hint := ""
	if strings.HasPrefix(e.Text, "unknown command") {
		hint = "; the server has no such command, which is also what a meta server says that does not lead"
	}
	return fmt.Sprintf("%s refused %q: %s%s", e.Addr, e.Command, strings.TrimSpace(e.Text), hint)
}

// Command runs a remote command on one server, once.
func (c *Client) Command(ctx context.Context, addr, command string, args ...string) (CommandAnswer, error) {
	return c.command(ctx, addr, max(c.opt.AnswerTimeout, 5*time.Second), command, args...)
}

// command is Command with its own time. Commands that only read take the short one: a server that is
// starting loses requests.
func (c *Client) command(ctx context.Context, addr string, timeout time.Duration, command string, args ...string) (CommandAnswer, error) {
	if command == "" {
		return CommandAnswer{}, errors.New("the remote command is empty")
	}
	req := &wire.CommandRequest{Command: command, Arguments: args}
	answer, err := c.send(ctx, addr, timeout, func(seq int32) ([]byte, error) { return wire.EncodeAdmin(seq, timeout, req), nil })
	if err != nil {
		return CommandAnswer{}, err
	}
	reply, err := decode(addr, answer, req)
	if err != nil {
		return CommandAnswer{}, err
	}
	return CommandAnswer{Text: reply.Text}, nil
}

// Setting reads a setting of the leader.
func (c *Client) Setting(ctx context.Context, command string) (string, error) {
	value := ""
	err := c.leaderCommand(ctx, func(addr string) error {
		answer, err := c.command(ctx, addr, c.opt.AnswerTimeout, command)
		if err != nil {
			return err
		}
		var ok bool
		if value, ok = answer.Value(command); !ok {
			return &CommandError{Addr: addr, Command: command, Text: answer.Text}
		}
		return nil
	})
	return value, err
}

// SetSetting sets a setting of the leader, which holds as long as that one leads. Setting the same
// value twice does no harm, so it is sent again when there was no answer.
func (c *Client) SetSetting(ctx context.Context, command, value string) error {
	return c.leaderCommand(ctx, func(addr string) error {
		answer, err := c.Command(ctx, addr, command, value)
		if err == nil && !answer.Accepted() {
			err = &CommandError{Addr: addr, Command: command + " " + value, Text: answer.Text}
		}
		return err
	})
}

// leaderCommand runs a command against the leader until it is answered by one that really leads. A new
// leader answers requests a moment before it knows its commands.
func (c *Client) leaderCommand(ctx context.Context, run func(addr string) error) error {
	for start := time.Now(); ; {
		addr, err := c.Leader(ctx)
		if err != nil {
			return err
		}
		err = run(addr)
		var refused *CommandError
		lost := errors.As(err, &refused) && strings.HasPrefix(refused.Text, "unknown command") && c.role(ctx, addr) != leads
		if err == nil || ctx.Err() != nil || !lost && !c.lostLeader(ctx, addr, err) || time.Since(start) > c.opt.LeaderTimeout {
			return err
		}
		c.forget(addr)
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// ServerInfo is which program a server runs and since when.
type ServerInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Build   string `json:"build"`
	// Started is by the server's clock and in its time zone, "2006-01-02 15:04:05".
	Started string `json:"started"`
}

// ServerInfo asks a meta or replica server. A collector does not answer; it has HTTP only.
func (c *Client) ServerInfo(ctx context.Context, addr string) (ServerInfo, error) {
	answer, err := c.command(ctx, addr, c.opt.AnswerTimeout, "server-info")
	if err != nil {
		return ServerInfo{}, err
	}
	if m := answer.fields(); m != nil {
		info := ServerInfo{Version: plainJSON(m["version"]), Commit: plainJSON(m["git_SHA"]),
			Build: plainJSON(m["build_type"]), Started: plainJSON(m["start_time"])}
		if info.Version != "" && info.Started != "" {
			return info, nil
		}
	}
	parts := regexp.MustCompile(`^Pegasus Server (\S+) \(([^)]*)\) (\S+), Started at (.+)$`).FindStringSubmatch(strings.TrimSpace(answer.Text))
	if parts == nil {
		return ServerInfo{}, &CommandError{Addr: addr, Command: "server-info", Text: answer.Text}
	}
	return ServerInfo{Version: parts[1], Commit: parts[2], Build: parts[3], Started: parts[4]}, nil
}
