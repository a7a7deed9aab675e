package pegasus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

func preflightModule() *modules.Module {
	return modules.Define("pegasus_preflight", `May an operation on a Pegasus cluster begin?

Reads only. Looks at everything that has made operations go wrong half-way, and fails with the list of all
that stands against this one, each with what to do about it. A finding that an operator has judged and
takes the risk of is named in accept, and is then only told.

Checks: identity (it is the cluster that the inventory means), meta (one meta server leads, all others stand
by), level (nobody froze or stopped it), nodes (every replica server is alive and none is unknown), freeze (the
servers that stay are enough for the meta server to go on working), tables (all healthy, none being made or
dropped), replication (a table of one replica has an outage, one of two takes no writes meanwhile), settings
(nothing is left over from another operation), balance (nobody moves replicas), version (the way from what
runs to version is one that the servers support).

operation says what is going to happen: read looks at what can be seen and fails for nothing but a cluster
that is not the right one; restart takes down replica servers, down at a time, drained or not; offline takes
leaving away for good; add, rebalance, config, backup and migrate change no server.

    - pegasus_preflight:
        meta_servers: 10.0.0.1:34601,10.0.0.2:34601
        cluster_name: my_cluster
        nodes: [10.0.0.11:34801, 10.0.0.12:34801, 10.0.0.13:34801]
        operation: restart
        drained: true
        version: 2.5.0`, proposePreflight)
}

type preflightArgs struct {
	clusterArgs
	ClusterName string   `arg:"cluster_name" doc:"the name that the cluster must have"`
	ClusterRoot string   `arg:"cluster_root" doc:"its place in ZooKeeper, which must be the same"`
	Nodes       []string `arg:"nodes,required" doc:"all its replica servers, ip:port each"`
	Operation   string   `arg:"operation" default:"restart" choices:"read,restart,offline,add,rebalance,config,backup,migrate" doc:"what is going to happen"`
	Down        int      `arg:"down" default:"1" min:"0" doc:"restart: how many replica servers are down at a time"`
	Leaving     []string `arg:"leaving" doc:"offline: the replica servers that go for good"`
	Drained     bool     `arg:"drained" default:"false" doc:"replica servers serve nothing any more when they are stopped"`
	Version     string   `arg:"version" doc:"the release that is going to run; none checks no way"`
	MinLive     int      `arg:"min_live_nodes" default:"3" min:"1" doc:"the meta server's min_live_node_count_for_unfreeze: with fewer alive it freezes the cluster"`
	Accept      []string `arg:"accept" doc:"checks whose findings do not stop the operation"`
}

// finding is what one check found.
type finding struct {
	Check   string `json:"check"`
	Verdict string `json:"verdict"` // ok, warn or fail
	Text    string `json:"text"`
	Hint    string `json:"hint,omitempty"`
}

const (
	verdictOK   = "ok"
	verdictWarn = "warn"
	verdictFail = "fail"
)

type preflightOutput struct {
	Findings []finding `json:"findings"`
	// Plan is what an operator should know before it begins, a sentence each.
	Plan   []string `json:"plan"`
	Stdout string   `json:"stdout"`
	*survey
}

// check is one check of the matrix.
type check struct {
	name string
	look func(p *preflight)
}

// checks is the matrix, in the order in which it is told (facts/pegasus.md §10.1).
func checks() []check {
	return []check{{"identity", (*preflight).identity}, {"meta", (*preflight).meta}, {"level", (*preflight).level}, {"nodes", (*preflight).nodes},
		{"freeze", (*preflight).freeze}, {"tables", (*preflight).tables}, {"replication", (*preflight).replication},
		{"settings", (*preflight).settings}, {"balance", (*preflight).balance}, {"version", (*preflight).version}}
}

// preflight is the checks at work.
type preflight struct {
	args preflightArgs
	sv   *survey
	out  *preflightOutput
	now  string // the check that looks
}

func (p *preflight) say(verdict, text, hint string) {
	if verdict == verdictFail && slices.Contains(p.args.Accept, p.now) {
		verdict, hint = verdictWarn, "accepted"
	}
	p.out.Findings = append(p.out.Findings, finding{p.now, verdict, text, hint})
}

func (p *preflight) fail(hint, format string, args ...any) {
	p.say(verdictFail, fmt.Sprintf(format, args...), hint)
}

func (p *preflight) warn(hint, format string, args ...any) {
	p.say(verdictWarn, fmt.Sprintf(format, args...), hint)
}

// grave fails what changes the cluster, and only warns who reads.
func (p *preflight) grave(hint, format string, args ...any) {
	if p.args.Operation == "read" {
		p.warn(hint, format, args...)
		return
	}
	p.fail(hint, format, args...)
}

func proposePreflight(ctx context.Context, call *modules.Call, args preflightArgs) (*modules.Proposal, error) {
	if err := args.validate(); err != nil {
		return nil, err
	}
	sv, err := surveyCluster(ctx, call, args.clusterArgs, args.Nodes, nil)
	if err != nil {
		return nil, err
	}
	p := &preflight{args: args, sv: sv, out: &preflightOutput{survey: sv, Plan: []string{}, Findings: []finding{}}}
	for _, c := range checks() {
		p.now = c.name
		before := len(p.out.Findings)
		c.look(p)
		if len(p.out.Findings) == before {
			p.say(verdictOK, "", "")
		}
	}
	p.out.Stdout = p.text()
	proposal := &modules.Proposal{Output: p.out, Message: p.message()}
	if failed := p.told(verdictFail); len(failed) > 0 {
		// In Do, so that what was found is registered, too.
		proposal.Do = func(context.Context, modules.Host) error { return errors.New(strings.Join(failed, "\n")) }
	}
	return proposal, nil
}

func (a preflightArgs) validate() error {
	var names []string
	for _, c := range checks() {
		names = append(names, c.name)
	}
	for _, name := range a.Accept {
		if !slices.Contains(names, name) {
			return &modules.ArgumentError{Arg: "accept", Problem: fmt.Sprintf("accept: there is no check %q", name), Hint: "choose from " + strings.Join(names, ", ")}
		}
	}
	for _, node := range a.Leaving {
		if !slices.Contains(a.Nodes, node) {
			return &modules.ArgumentError{Arg: "leaving", Problem: fmt.Sprintf("leaving: %s is none of nodes", node)}
		}
	}
	return nil
}

// told lists the findings of a verdict, a line each.
func (p *preflight) told(verdict string) []string {
	var lines []string
	for _, f := range p.out.Findings {
		if f.Verdict != verdict {
			continue
		}
		line := f.Check + ": " + f.Text
		if f.Hint != "" {
			line += " (" + f.Hint + ")"
		}
		lines = append(lines, line)
	}
	return lines
}

func (p *preflight) message() string {
	return strings.Join(slices.Concat(p.out.Plan, p.told(verdictWarn)), "\n")
}

func (p *preflight) text() string {
	t := table{name: "preflight", header: []string{"check", "verdict", "finding"}}
	for _, f := range p.out.Findings {
		t.rows = append(t.rows, []string{f.Check, f.Verdict, strings.TrimSpace(f.Text + " " + f.Hint)})
	}
	text := t.String()
	if len(p.out.Plan) > 0 {
		text += "\n" + strings.Join(p.out.Plan, "\n")
	}
	return strings.TrimSuffix(text, "\n")
}

func (p *preflight) identity() {
	if want := p.args.ClusterName; want != "" && want != p.sv.ClusterName {
		p.fail("the inventory's meta servers are another cluster's", "the cluster is called %q, not %q", p.sv.ClusterName, want)
	}
	if want := p.args.ClusterRoot; want != "" && want != p.sv.ClusterRoot {
		p.fail("the inventory's meta servers are another cluster's", "its place in ZooKeeper is %s, not %s", p.sv.ClusterRoot, want)
	}
}

func (p *preflight) meta() {
	for _, m := range p.sv.Metas {
		switch {
		case m.State == "down":
			p.grave("start it, or look at its log", "meta server %s %s", m.Address, m.Said)
		case m.State == "leader" && m.Address != p.sv.Leader:
			p.fail("look at ZooKeeper and the meta servers' logs", "meta servers %s and %s both lead", m.Address, p.sv.Leader)
		}
	}
	if len(p.sv.Metas) == 1 {
		p.warn("", "there is one meta server: while it is down no table can be found by new clients")
	}
}

func (p *preflight) level() {
	switch stored, _ := wire.ParseLevel(p.sv.Level); {
	case stored < wire.LevelSteady:
		p.grave("whoever set it had a reason; pegasus_settings with level: steady ends it", "the level is %s", p.sv.Level)
	case p.sv.Frozen:
		p.grave("start the replica servers that are down", "the cluster is frozen: fewer than %d replica servers, or too small a part of them, are alive", p.args.MinLive)
	case p.sv.EffectiveLevel != p.sv.Level:
		p.grave("ask again; a meta server says nothing of it while it takes over", "the level is %s, and the one in effect %q", p.sv.Level, p.sv.EffectiveLevel)
	}
}

func (p *preflight) nodes() {
	for _, n := range p.sv.Nodes {
		known := slices.Contains(p.args.Nodes, n.Address)
		switch {
		case n.Status != wire.NodeAlive.String() && slices.Contains(p.args.Leaving, n.Address):
			p.warn("", "replica server %s, which leaves, is %s", n.Address, n.Status)
		case n.Status == "UNKNOWN":
			p.grave("start it, or take it out of the inventory", "the meta server does not know replica server %s", n.Address)
		case n.Status != wire.NodeAlive.String() && known:
			p.grave("start it, and wait until it is ALIVE", "replica server %s is %s", n.Address, n.Status)
		case n.Status != wire.NodeAlive.String() && n.Primaries+n.Secondaries == 0:
			p.warn("the meta servers forget it when they are restarted", "replica server %s, which is not in the inventory and has nothing, is %s", n.Address, n.Status)
		case n.Status != wire.NodeAlive.String():
			p.grave("the meta servers forget it when they are restarted", "replica server %s, which is not in the inventory, is %s", n.Address, n.Status)
		case !known:
			p.grave("add it to the inventory, or take it offline", "replica server %s is alive but not in the inventory", n.Address)
		case n.silent() && slices.Contains(p.args.Leaving, n.Address):
			p.warn("", "replica server %s, which leaves, sends beacons but does not answer: %s", n.Address, n.Error)
		case n.silent(): // its copies are not there for reads and writes, whatever the meta server believes
			p.grave("look at its log and restart it", "replica server %s is ALIVE, as it sends beacons, but does not answer: %s", n.Address, n.Error)
		}
	}
}

// alive is how many replica servers are alive.
func (p *preflight) alive() int {
	alive := 0
	for _, n := range p.sv.Nodes {
		if n.Status == wire.NodeAlive.String() {
			alive++
		}
	}
	return alive
}

// leavingAlive is how many of those that leave are alive: the others are gone already.
func (p *preflight) leavingAlive() int {
	n := 0
	for _, node := range p.sv.Nodes {
		if node.Status == wire.NodeAlive.String() && slices.Contains(p.args.Leaving, node.Address) {
			n++
		}
	}
	return n
}

// freeze reckons as the meta server does (facts/pegasus.md §8.3).
func (p *preflight) freeze() {
	gone := 0
	switch p.args.Operation {
	case "restart":
		gone = p.args.Down
	case "offline":
		gone = p.leavingAlive()
	default:
		return
	}
	left := p.alive() - gone
	why := wouldFreeze(len(p.sv.Nodes), left, p.args.MinLive, p.sv.Settings["meta.live_percentage"])
	if why == "" {
		return
	}
	switch {
	case p.args.Operation == "offline" && left < p.sv.Replication:
		p.fail("add servers first", "%s, and the tables ask for %d replicas", why, p.sv.Replication)
	case p.args.Operation == "offline" && left < p.args.MinLive:
		p.fail("add servers first", "the cluster freezes: %s", why)
	case p.args.Operation == "offline":
		p.warn("", "%s: the limit is lowered while they leave", why)
	case p.args.Drained:
		p.out.Plan = append(p.out.Plan, "The cluster counts as frozen while a replica server is down ("+why+"). That is safe, because each serves nothing "+
			"when it is stopped: nothing has to be taken over. Should another server fail meanwhile, its partitions wait until one is back.")
	default:
		p.fail("drain them first (mode=ha)", "the cluster freezes while a replica server is down: %s; what it serves would be taken over by nobody and its partitions take no writes", why)
	}
}

// wouldFreeze says why a meta server freezes with so many of all the replica servers alive that it knows; empty
// when it does not (facts/pegasus.md §8.3). A percentage that it did not tell is its default.
func wouldFreeze(all, alive, minLive int, percentage string) string {
	least, err := strconv.Atoi(percentage)
	if err != nil {
		least = 50
	}
	switch {
	case alive < minLive:
		return fmt.Sprintf("%d of %d replica servers are then alive, fewer than %d", alive, all, minLive)
	case alive*100 < least*all:
		return fmt.Sprintf("%d of %d replica servers are then alive, less than %d %%", alive, all, least)
	}
	return ""
}

func (p *preflight) tables() {
	available := 0
	for _, t := range p.sv.Tables {
		switch {
		case t.Status == wire.AppAvailable.String():
			available++
		default:
			p.grave("wait until that is over", "table %s is %s", t.Name, t.Status)
		}
		if t.Health.Unhealthy > 0 {
			p.grave("wait until the cluster has cured it; pegasus_status lists the partitions",
				"table %s: %d of %d partitions lack replicas, %d of them take no writes, %d no reads", t.Name, t.Health.Unhealthy, t.Partitions, t.WriteUnhealthy, t.ReadUnhealthy)
		}
	}
	if available == 0 {
		p.warn("", "there is no table")
	}
}

func (p *preflight) replication() {
	if p.args.Operation != "restart" && p.args.Operation != "offline" {
		return
	}
	for _, t := range p.sv.Tables {
		switch {
		case t.Replicas == 1:
			p.fail("accept it, or give the table more replicas", "table %s has one replica of each partition: those on a server that is down cannot be read or written", t.Name)
		case t.Replicas == 2:
			p.fail("accept it, or give the table a third replica", "table %s has two replicas of each partition: those on a server that is down take no writes", t.Name)
		}
	}
}

// settings looks for what an operation that broke off has left behind, or somebody else needs.
func (p *preflight) settings() {
	if p.args.Operation == "read" {
		return
	}
	set := p.sv.Settings
	if list := set["assign_secondary_black_list"]; list != "" {
		p.warn("pegasus_settings with assign_secondary_black_list: clear", "no replicas are given to %s: left over, or somebody takes them offline", list)
	}
	if set["only_move_primary"] == "true" {
		p.warn("", "only primaries are balanced (only_move_primary): left over, or somebody is balancing")
	}
	if set["add_secondary_max_count_for_one_node"] == "0" {
		p.warn("--tags restore of the rolling update puts it back", "no secondaries are added (add_secondary_max_count_for_one_node is 0): left over from an operation that broke off")
	}
	if p.args.Drained && set["add_secondary_enable_flow_control"] == "false" {
		p.warn("", "the meta server's flow control is off; it is switched on while servers are drained")
	}
}

func (p *preflight) balance() {
	n, known := p.sv.operations()
	if p.sv.Level == wire.LevelLively.String() && (n > 0 || !known) {
		p.warn("", "the balancer is at work (%s); it stops when the level is set to steady", p.sv.Operations)
	}
}

// version looks at the way from what runs to what is going to run (facts/pegasus.md §6.6).
func (p *preflight) version() {
	running := p.sv.versions()
	if len(running) > 1 {
		p.warn("a rolling update that was not finished", "servers run different versions: %s", strings.Join(running, ", "))
	}
	if p.args.Version == "" || p.args.Operation == "read" {
		return
	}
	to, err := semver.NewVersion(p.args.Version)
	if err != nil {
		p.fail("write it as 2.5.0", "%q is no version", p.args.Version)
		return
	}
	if len(running) == 0 {
		p.fail("look at the servers' logs", "no server says which version it runs")
	}
	for _, text := range running {
		from, err := semver.NewVersion(text)
		if err != nil {
			p.warn("", "a server says that it runs version %q", text)
			continue
		}
		p.way(from, to)
	}
}

func (p *preflight) way(from, to *semver.Version) {
	minor := func(v *semver.Version) uint64 { return v.Major()*100 + v.Minor() }
	switch {
	case minor(to) < minor(from):
		p.fail("accept it only to go back from an update that has just failed", "%s is older than %s, which runs; older servers may not read the newer ones' data", to, from)
	case minor(to) >= 206 && minor(from) < 205:
		p.fail("update to 2.5 first", "%s can only be reached from 2.5, and %s runs", to, from)
	case minor(to) >= 201 && minor(from) < 200:
		p.fail("update to 2.0 first", "%s can only be reached from 2.0 or later, and %s runs", to, from)
	case minor(to) >= 201 && minor(from) == 200 && !p.args.Drained:
		p.fail("use mode=ha, which closes all replicas first", "from 2.0 every server must be stopped gracefully, with its replicas closed")
	}
}
