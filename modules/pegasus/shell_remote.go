package pegasus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// answerRow is what one server said to a remote command.
type answerRow struct {
	Address string `json:"address"`
	Role    string `json:"role"`
	OK      bool   `json:"ok"`
	Message string `json:"message"`
	// Value is what a setting is, where the command asks for one.
	Value string `json:"value,omitempty"`
}

// server is one that a remote command goes to.
type server struct{ addr, role string }

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func targetOptions() []option { return []option{{"t", "node_type", true}, {"l", "node_list", true}} }

// targets are the servers that the options name.
func (s *session) targets(ctx context.Context, o options) ([]server, error) {
	if o.has("node_list") {
		var list []server
		for addr := range strings.SplitSeq(o.given["node_list"], ",") {
			if _, err := wire.ParseAddress(addr); err != nil {
				return nil, usage("%v", err)
			}
			list = append(list, server{addr, "user-specified"})
		}
		return list, nil
	}
	kind := o.given["node_type"]
	if kind == "" {
		kind = "all"
	}
	if !slices.Contains([]string{"all", "meta-server", "replica-server"}, kind) {
		return nil, usage("there is no node type %q", kind)
	}
	var list []server
	if kind != "replica-server" {
		for _, addr := range s.Metas() {
			list = append(list, server{addr, "meta-server"})
		}
	}
	if kind == "meta-server" {
		return list, nil
	}
	nodes, err := s.Nodes(ctx)
	for _, n := range nodes {
		if n.Status == wire.NodeAlive {
			list = append(list, server{n.Node.Address.String(), "replica-server"})
		}
	}
	if err == nil && len(list) == 0 {
		err = errors.New("no replica server is alive")
	}
	return list, err
}

// leaderOnly says whether only the leading meta server has a command.
func leaderOnly(command string) bool { return strings.HasPrefix(command, "meta.lb.") }

// isSetting says whether a command without arguments gives the value that one with an argument sets.
func isSetting(command string) bool {
	switch command {
	case "meta.lb.get_balance_operation_count", "meta.lb.ignored_app_list":
		return false
	case "meta.live_percentage", "replica.deny-client", "replica.verbose-client-log", "replica.verbose-commit-log",
		"replica.max-concurrent-bulk-load-downloading-count", "replica.mem-release-max-reserved-percentage",
		"replica.max-replicas-on-load-for-each-disk", "replica.load-replica-max-wait-time-ms":
		return true
	}
	return leaderOnly(command) || strings.HasPrefix(command, "nfs.max_")
}

// onlyReads says whether a command that is no setting changes nothing.
func onlyReads(command string) bool {
	switch command {
	case "server-info", "server-stat", "help", "fd.allow_list", "meta.lb.get_balance_operation_count", "task-code", "system.queue", "engine",
		"replica.query-app-envs", "replica.query-compact", "replica.query-progress", "replica.query-plog-gc-enabled-status", "replica.get-tcmalloc-status":
		return true
	}
	return strings.HasPrefix(command, "perf-counters")
}

func (sh *shell) remote(ctx context.Context, words []string) (*modules.Proposal, error) {
	o, err := parseOptions(words, true, targetOptions()...)
	if err != nil {
		return nil, err
	}
	if len(o.rest) == 0 {
		return nil, usage("the remote command is missing")
	}
	r := &remoteCommand{command: o.rest[0], args: o.rest[1:]}
	if leaderOnly(r.command) && !o.has("node_list") {
		if o.given["node_type"] == "replica-server" {
			return nil, usage("%s is a command of meta servers", r.command)
		}
		return sh.leaderCommand(ctx, r)
	}
	if r.servers, err = sh.targets(ctx, o); err != nil {
		return nil, err
	}
	switch {
	case isSetting(r.command) && len(r.args) > 0:
		return sh.setEach(ctx, r)
	case onlyReads(r.command), isSetting(r.command):
		sh.out.Answers = sh.session.askEach(ctx, r.servers, r.command, r.args)
		return sh.answered(r, false)
	}
	p := &modules.Proposal{Once: true, Diff: []modules.Diff{{Subject: r.command, Note: "runs " + r.line() + " on " + plural(len(r.servers), "server")}}}
	p.Do = func(ctx context.Context, host modules.Host) error {
		s, err := sh.again(host)
		if err != nil {
			return err
		}
		defer s.Close()
		sh.out.Answers = s.askEach(ctx, r.servers, r.command, r.args)
		_, err = sh.answered(r, false)
		return err
	}
	return p, nil
}

// remoteCommand is a remote command with the servers it is for.
type remoteCommand struct {
	command string
	args    []string
	servers []server
}

func (r *remoteCommand) line() string {
	return strings.Join(append([]string{r.command}, r.args...), " ")
}

// askEach runs a command on servers at once; a server that fails has a row that says so.
func (s *session) askEach(ctx context.Context, servers []server, command string, args []string) []answerRow {
	rows := make([]answerRow, len(servers))
	var group errgroup.Group
	group.SetLimit(16)
	for i, to := range servers {
		group.Go(func() error {
			rows[i] = answerRow{Address: to.addr, Role: to.role}
			answer, err := s.Command(ctx, to.addr, command, args...)
			if err != nil {
				rows[i].Message = err.Error()
				return nil
			}
			rows[i].Message, rows[i].OK = answer.Text, !answer.Refused()
			if isSetting(command) && len(args) == 0 {
				rows[i].Value, rows[i].OK = answer.Value(command)
			}
			return nil
		})
	}
	_ = group.Wait() // the rows have the errors
	return rows
}

// answered prints the rows as the shell does and fails when a server refused. A standby meta server does
// not know all commands; mayLack lets that pass.
func (sh *shell) answered(r *remoteCommand, mayLack bool) (*modules.Proposal, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "COMMAND: %s\n\n", r.line())
	good := 0
	var bad []string
	for _, row := range sh.out.Answers {
		word := "failed"
		if row.OK {
			good++
			word = "succeed"
		} else if !mayLack || !strings.HasPrefix(row.Message, "unknown command") {
			bad = append(bad, row.Address+": "+strings.TrimSpace(row.Message))
		}
		fmt.Fprintf(&b, "CALL [%s] [%s] %s: %s\n", row.Role, row.Address, word, row.Message)
	}
	fmt.Fprintf(&b, "\nSucceed count: %d\nFailed count: %d\n", good, len(sh.out.Answers)-good)
	sh.out.print(b.String())
	if len(sh.out.Answers) == 1 {
		sh.out.Value = sh.out.Answers[0].Value
	}
	if good == 0 && len(bad) == 0 {
		for _, row := range sh.out.Answers {
			bad = append(bad, row.Address+": "+strings.TrimSpace(row.Message))
		}
	}
	if good == 0 || len(bad) > 0 {
		return nil, fmt.Errorf("%s failed on %s", r.line(), strings.Join(bad, "; "))
	}
	return &modules.Proposal{}, nil
}

// leaderCommand is one that only the leading meta server has.
func (sh *shell) leaderCommand(ctx context.Context, r *remoteCommand) (*modules.Proposal, error) {
	if !isSetting(r.command) {
		return sh.leaderReads(ctx, r)
	}
	now, err := sh.setting(ctx, r.command)
	if errors.Is(err, modules.ErrUnpredicted) && len(r.args) > 0 {
		now, err = "unknown", nil
	}
	if err != nil {
		return nil, err
	}
	sh.out.Value = now
	if leader, err := sh.Leader(ctx); err == nil {
		sh.out.Leader = leader
		sh.out.Answers = []answerRow{{Address: leader, Role: "meta-server", OK: true, Message: now, Value: now}}
	}
	sh.out.print(fmt.Sprintf("%s = %s on %s", r.command, now, sh.out.Leader))
	if len(r.args) == 0 {
		return &modules.Proposal{}, nil
	}
	want := strings.Join(r.args, " ")
	if same(now, want) {
		return &modules.Proposal{}, nil
	}
	p := &modules.Proposal{Diff: []modules.Diff{{Subject: r.command, Note: now + " → " + want}},
		Predicts: sh.predictions("setting/"+r.command, want)}
	p.Do = func(ctx context.Context, host modules.Host) error {
		s, err := sh.again(host)
		if err != nil {
			return err
		}
		defer s.Close()
		got := map[string]string{}
		leader, err := s.enforce(ctx, "", map[string]string{r.command: want}, got)
		if err != nil {
			return err
		}
		sh.out.Leader, sh.out.Value = leader, got[r.command]
		sh.out.Answers = []answerRow{{Address: leader, Role: "meta-server", OK: true, Message: "OK", Value: got[r.command]}}
		sh.out.print(fmt.Sprintf("%s = %s on %s", r.command, got[r.command], leader))
		return nil
	}
	return p, nil
}

// leaderReads runs a command of the leader that only reads.
func (sh *shell) leaderReads(ctx context.Context, r *remoteCommand) (*modules.Proposal, error) {
	leader, err := sh.Leader(ctx)
	if err != nil {
		return nil, err
	}
	r.servers = []server{{leader, "meta-server"}}
	sh.out.Leader = leader
	run := func(ctx context.Context, s *session) error {
		sh.out.Answers = s.askEach(ctx, r.servers, r.command, r.args)
		_, err := sh.answered(r, false)
		return err
	}
	if onlyReads(r.command) || len(r.args) == 0 || r.args[0] == "get" {
		return &modules.Proposal{}, run(ctx, sh.session)
	}
	return &modules.Proposal{Once: true, Diff: []modules.Diff{{Subject: r.command, Note: "runs " + r.line() + " on the leader"}},
		Do: func(ctx context.Context, host modules.Host) error {
			s, err := sh.again(host)
			if err != nil {
				return err
			}
			defer s.Close()
			return run(ctx, s)
		}}, nil
}

// setEach sets a setting on each server where it differs.
func (sh *shell) setEach(ctx context.Context, r *remoteCommand) (*modules.Proposal, error) {
	want := strings.Join(r.args, " ")
	p := &modules.Proposal{Predicts: map[string]string{}}
	sh.out.Answers = sh.session.askEach(ctx, r.servers, r.command, nil)
	if _, err := sh.answered(r, true); err != nil {
		return nil, err
	}
	var differ []server
	for i, row := range sh.out.Answers {
		now := row.Value
		key := "server/" + row.Address + "/" + r.command
		if text, ok := sh.predicted(key); ok {
			now = text
		}
		if !row.OK || same(now, want) {
			continue
		}
		differ = append(differ, r.servers[i])
		p.Diff = append(p.Diff, modules.Diff{Subject: row.Address + " " + r.command, Note: now + " → " + want})
		p.Predicts[sh.prefix+key] = want
	}
	if len(differ) == 0 {
		return p, nil
	}
	p.Do = func(ctx context.Context, host modules.Host) error {
		s, err := sh.again(host)
		if err != nil {
			return err
		}
		defer s.Close()
		return sh.setAndReadBack(ctx, s, &remoteCommand{r.command, r.args, differ}, want)
	}
	return p, nil
}

func (sh *shell) setAndReadBack(ctx context.Context, s *session, r *remoteCommand, want string) error {
	sh.out.Answers = s.askEach(ctx, r.servers, r.command, r.args)
	for i := range sh.out.Answers {
		row := &sh.out.Answers[i]
		row.OK = row.OK && client.CommandAnswer{Text: row.Message}.Accepted()
	}
	if _, err := sh.answered(r, false); err != nil {
		return err
	}
	for i, row := range s.askEach(ctx, r.servers, r.command, nil) {
		if !row.OK || want != defaultValue && row.Value != want {
			return fmt.Errorf("%s: %s is %q after it was set to %s", row.Address, r.command, row.Value, want)
		}
		sh.out.Answers[i].Value = row.Value
	}
	return nil
}

func (sh *shell) serverInfo(ctx context.Context, words []string) (*modules.Proposal, error) {
	o, err := parseOptions(words, false, targetOptions()...)
	if err == nil {
		err = o.only(0, "")
	}
	if err != nil {
		return nil, err
	}
	servers, err := sh.targets(ctx, o)
	if err != nil {
		return nil, err
	}
	rows := make([]serverRow, len(servers))
	var group errgroup.Group
	group.SetLimit(16)
	for i, to := range servers {
		group.Go(func() error {
			info, err := sh.ServerInfo(ctx, to.addr)
			rows[i] = serverRow{Address: to.addr, Role: to.role, OK: err == nil, ServerInfo: info}
			if err != nil {
				rows[i].Error = err.Error()
			}
			return nil
		})
	}
	_ = group.Wait() // the rows have the errors
	sh.out.Servers = rows
	t := table{name: "servers", header: []string{"address", "role", "version", "started", "error"}}
	var bad []string
	for _, r := range rows {
		t.rows = append(t.rows, []string{r.Address, r.Role, r.Version, r.Started, r.Error})
		if !r.OK {
			bad = append(bad, r.Error)
		}
	}
	sh.out.print(t.String())
	if len(bad) > 0 {
		return nil, errors.New(strings.Join(bad, "; "))
	}
	return &modules.Proposal{}, nil
}

func (sh *shell) serverStat(ctx context.Context, words []string) (*modules.Proposal, error) {
	o, err := parseOptions(words, false, targetOptions()...)
	if err == nil {
		err = o.only(0, "")
	}
	if err != nil {
		return nil, err
	}
	if !o.has("node_list") && !o.has("node_type") {
		o.given["node_type"] = "replica-server" // a meta server counts nothing of this
	}
	r := &remoteCommand{command: "server-stat"}
	if r.servers, err = sh.targets(ctx, o); err != nil {
		return nil, err
	}
	sh.out.Answers = sh.session.askEach(ctx, r.servers, r.command, nil)
	return sh.answered(r, false)
}
