package pegasus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// More settings, which say whether somebody else is at work on the cluster.
const (
	settingBlackList      = "meta.lb.assign_secondary_black_list"
	settingOnlyPrimary    = "meta.lb.only_move_primary"
	settingLivePercentage = "meta.live_percentage"
)

// surveyTimeout bounds the search for a leader: who asks for the status wants it now.
const surveyTimeout = 5 * time.Second

// survey is what a cluster says of itself, all of it read within seconds. A server that does not
// answer is part of the picture and no error; a leader that cannot be found is.
type survey struct {
	Leader         string            `json:"leader"`
	Level          string            `json:"level"`
	EffectiveLevel string            `json:"effective_level"`
	Frozen         bool              `json:"frozen"`
	ClusterName    string            `json:"cluster_name"`
	ClusterRoot    string            `json:"cluster_root"`
	ZooKeeper      string            `json:"zookeeper"`
	Operations     string            `json:"balance_operations"`
	Metas          []serverState     `json:"metas"`
	Nodes          []nodeState       `json:"nodes"`
	Collectors     []serverState     `json:"collectors"`
	Tables         []tableState      `json:"tables"`
	Unhealthy      []partitionState  `json:"unhealthy"`
	Settings       map[string]string `json:"settings"`
	// Replication is the least number of replicas that a table asks for; 0 without tables.
	Replication int `json:"replication"`
	// Missing is what keeps the cluster from being healthy, a line each.
	Missing []string `json:"missing"`

	view *client.View
}

// serverState is a meta server or collector.
type serverState struct {
	Address string `json:"address"`
	State   string `json:"state"` // leader, standby, up or down
	Said    string `json:"said,omitempty"`
	Version string `json:"version"`
	Started string `json:"started"`
}

// nodeState is a replica server: what the leader says of it, and what it says itself.
type nodeState struct {
	Address     string `json:"address"`
	Status      string `json:"status"` // ALIVE, UNALIVE, or UNKNOWN to the leader
	Primaries   int    `json:"primaries"`
	Secondaries int    `json:"secondaries"`
	Version     string `json:"version"`
	Started     string `json:"started"`
	// Serving, Opening and Closing are replicas in the server's hands; -1 where it does not say.
	Serving int    `json:"serving"`
	Opening int    `json:"opening"`
	Closing int    `json:"closing"`
	Error   string `json:"error,omitempty"`
}

// tableState is a table with the health that the shell would show.
type tableState struct {
	ID       int32  `json:"id"`
	Name     string `json:"name"`
	Status   string `json:"status"`
	Replicas int32  `json:"replica_count"`
	client.Health
}

// partitionState is a partition that lacks replicas.
type partitionState struct {
	Table       string   `json:"table"`
	ID          string   `json:"id"`
	Primary     string   `json:"primary"` // empty for none
	Secondaries []string `json:"secondaries"`
	Lacks       int      `json:"lacks"`
}

// surveyCluster reads everything. expected are replica servers that should be known.
func surveyCluster(ctx context.Context, call *modules.Call, args clusterArgs, expected, collectors []string) (*survey, error) {
	args.Timeout = min(args.Timeout, surveyTimeout)
	s, err := open(call, call.Host, args)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	sv := &survey{Settings: map[string]string{}, Collectors: []serverState{}, Tables: []tableState{}, Unhealthy: []partitionState{}, Missing: []string{}}
	if err := sv.readLeader(ctx, s); err != nil {
		return nil, err
	}
	sv.addNodes(expected)
	sv.addTables()
	addresses := make([]wire.Address, 0, len(expected))
	for _, name := range expected {
		addr, err := wire.ParseAddress(name)
		if err != nil {
			return nil, &modules.ArgumentError{Arg: "nodes", Problem: "nodes: " + err.Error()}
		}
		addresses = append(addresses, addr)
	}
	sv.Missing = append(sv.Missing, sv.view.Missing(addresses, true)...)
	sv.askServers(ctx, s, collectors)
	return sv, ctx.Err()
}

// readLeader reads what only the leader knows, side by side.
func (sv *survey) readLeader(ctx context.Context, s *session) error {
	group, within := errgroup.WithContext(ctx)
	group.Go(func() error {
		for _, m := range s.MetaStates(within) {
			sv.Metas = append(sv.Metas, serverState{Address: m.Addr, State: m.State, Said: m.Said})
		}
		return nil
	})
	group.Go(func() error {
		info, err := s.ClusterInfo(within)
		if err != nil {
			return err
		}
		for key, to := range map[string]*string{"zookeeper_root": &sv.ClusterRoot, "zookeeper_hosts": &sv.ZooKeeper,
			"meta_function_level": &sv.EffectiveLevel, "cluster_name": &sv.ClusterName, "balance_operation_count": &sv.Operations} {
			*to, _ = info.Value(key)
		}
		return nil
	})
	group.Go(func() (err error) { sv.Level, err = s.level(within); return err })
	group.Go(func() (err error) { sv.view, err = s.view(within); return err })
	group.Go(func() error { return sv.readSettings(within, s) })
	if err := group.Wait(); err != nil {
		return err
	}
	var err error
	if sv.Leader, err = s.Leader(ctx); err != nil {
		return err
	}
	// Before 2.2 the cluster does not tell its name, which is the last part of its place in ZooKeeper.
	if sv.ClusterName == "" {
		sv.ClusterName = sv.ClusterRoot[strings.LastIndexByte(sv.ClusterRoot, '/')+1:]
	}
	sv.Frozen = sv.EffectiveLevel == wire.LevelFreezed.String()
	return nil
}

// readSettings reads the settings that are there, side by side; which ones depends on the release.
func (sv *survey) readSettings(ctx context.Context, s *session) error {
	commands := []string{settingDelay, settingMaxCount, settingFlowControl, settingBlackList, settingOnlyPrimary, settingLivePercentage}
	values := make([]*string, len(commands))
	group, ctx := errgroup.WithContext(ctx)
	for i, command := range commands {
		group.Go(func() error {
			value, err := s.setting(ctx, command)
			var refused *client.CommandError
			if errors.As(err, &refused) && (client.CommandAnswer{Text: refused.Text}).Unknown() {
				return nil
			}
			values[i] = &value
			return err
		})
	}
	err := group.Wait()
	for i, command := range commands {
		if values[i] != nil {
			sv.Settings[strings.TrimPrefix(command, "meta.lb.")] = *values[i]
		}
	}
	return err
}

func (sv *survey) addNodes(expected []string) {
	sv.Nodes = []nodeState{}
	for _, n := range sv.view.Nodes {
		primaries, secondaries := sv.view.Holding(n.Node.Address)
		sv.Nodes = append(sv.Nodes, nodeState{Address: n.Node.Address.String(), Status: n.Status.String(), Primaries: primaries,
			Secondaries: secondaries, Serving: -1, Opening: -1, Closing: -1})
	}
	for _, name := range expected {
		if _, known := sv.view.Node(name); !known {
			sv.Nodes = append(sv.Nodes, nodeState{Address: name, Status: "UNKNOWN", Serving: -1, Opening: -1, Closing: -1})
		}
	}
}

func (sv *survey) addTables() {
	for i := range sv.view.Tables {
		t := &sv.view.Tables[i]
		sv.Tables = append(sv.Tables, tableState{ID: t.ID, Name: t.Name, Status: t.Status.String(), Replicas: t.MaxReplicaCount, Health: t.Health()})
		if t.Status != wire.AppAvailable {
			continue
		}
		if n := int(t.MaxReplicaCount); sv.Replication == 0 || n < sv.Replication {
			sv.Replication = n
		}
		for j := range t.Partitions {
			p := &t.Partitions[j]
			lacks := int(p.MaxReplicaCount) - client.Replicas(p)
			if lacks <= 0 && p.Primary != 0 {
				continue
			}
			state := partitionState{Table: t.Name, ID: p.PID.String(), Secondaries: []string{}, Lacks: max(lacks, 0)}
			if p.Primary != 0 {
				state.Primary = p.Primary.String()
			}
			for _, a := range p.Secondaries {
				state.Secondaries = append(state.Secondaries, a.String())
			}
			sv.Unhealthy = append(sv.Unhealthy, state)
		}
	}
}

// askServers asks every server for itself. What one does not answer stays empty.
func (sv *survey) askServers(ctx context.Context, s *session, collectors []string) {
	var group errgroup.Group
	group.SetLimit(32)
	for i := range sv.Metas {
		m := &sv.Metas[i]
		group.Go(func() error { m.ask(ctx, s); return nil })
	}
	for _, addr := range collectors {
		sv.Collectors = append(sv.Collectors, serverState{Address: addr, State: "up"})
	}
	for i := range sv.Collectors {
		c := &sv.Collectors[i]
		group.Go(func() error {
			if c.ask(ctx, s); c.Started == "" {
				c.State = "down"
			}
			return nil
		})
	}
	for i := range sv.Nodes {
		n := &sv.Nodes[i]
		group.Go(func() error { n.ask(ctx, s); return nil })
	}
	_ = group.Wait() // what did not answer is in the survey
}

func (m *serverState) ask(ctx context.Context, s *session) {
	var err error
	if m.Started, err = s.StartTime(ctx, m.Address); err != nil {
		if m.Said == "" {
			m.Said = err.Error()
		}
		return
	}
	m.Version, _ = s.HTTPVersion(ctx, m.Address)
}

// silent says whether the server did not even tell when it was started.
func (n *nodeState) silent() bool { return n.Error != "" && n.Started == "" }

func (n *nodeState) ask(ctx context.Context, s *session) {
	var err error
	if n.Started, err = s.StartTime(ctx, n.Address); err != nil {
		n.Error = err.Error()
		return
	}
	n.Version, _ = s.HTTPVersion(ctx, n.Address)
	held, err := s.Counts(ctx, n.Address)
	if err != nil {
		n.Error = err.Error()
		return
	}
	n.Serving, n.Opening, n.Closing = held.Serving, held.Opening, held.Closing
}

// operations is how many moves the balancer has in mind, of what the leader tells: text up to 2.5, JSON since.
func (sv *survey) operations() (n int, known bool) {
	i := strings.Index(sv.Operations, "total")
	if i < 0 {
		return 0, false
	}
	digits := strings.FieldsFunc(sv.Operations[i:], func(r rune) bool { return r < '0' || r > '9' })
	if len(digits) == 0 {
		return 0, false
	}
	n, err := strconv.Atoi(digits[0])
	return n, err == nil
}

// versions are those that run, each once, in order.
func (sv *survey) versions() []string {
	var all []string
	for _, m := range sv.Metas {
		all = append(all, m.Version)
	}
	for _, n := range sv.Nodes {
		all = append(all, n.Version)
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(v string) bool { return v == "" })
}

// String is the survey as text for people.
func (sv *survey) String() string {
	var b strings.Builder
	level := sv.Level
	if sv.EffectiveLevel != sv.Level {
		level += " (in effect " + sv.EffectiveLevel + ")"
	}
	b.WriteString(pairs{"cluster", [][2]string{{"name", sv.ClusterName}, {"leader", sv.Leader}, {"level", level},
		{"zookeeper", sv.ZooKeeper + sv.ClusterRoot}, {"versions", strings.Join(sv.versions(), ", ")}}}.String())
	settings := pairs{name: "settings"}
	for _, name := range sortedNames(sv.Settings) {
		settings.rows = append(settings.rows, [2]string{name, sv.Settings[name]})
	}
	servers, nodes := sv.servers(nil)
	tables := table{name: "tables", header: []string{"id", "name", "status", "partitions", "replicas", "healthy", "unhealthy", "no write", "no read"},
		right: map[int]bool{3: true, 4: true, 5: true, 6: true, 7: true, 8: true}}
	for _, t := range sv.Tables {
		tables.rows = append(tables.rows, []string{itoa(int(t.ID)), t.Name, t.Status, itoa(t.Partitions), itoa(int(t.Replicas)),
			itoa(t.FullyHealthy), itoa(t.Health.Unhealthy), itoa(t.WriteUnhealthy), itoa(t.ReadUnhealthy)})
	}
	for _, part := range []fmt.Stringer{settings, servers, nodes, tables} {
		b.WriteString("\n" + part.String())
	}
	b.WriteString("\n" + sv.health() + "\n")
	return b.String()
}

// health is the survey in a line.
func (sv *survey) health() string {
	if len(sv.Missing) == 0 {
		return "healthy"
	}
	return "not healthy: " + shortList(sv.Missing)
}

// stopMark stands behind servers at which something has stopped.
const stopMark = "<- it stopped here"

// servers are the tables of all servers, those in at marked.
func (sv *survey) servers(at []string) (others, replicas table) {
	mark := func(addr string) string {
		if slices.Contains(at, addr) {
			return stopMark
		}
		return ""
	}
	others = table{name: "meta servers and collectors", header: []string{"address", "state", "version", "started", ""}}
	for _, m := range slices.Concat(sv.Metas, sv.Collectors) {
		others.rows = append(others.rows, []string{m.Address, m.State, m.Version, m.Started, mark(m.Address)})
	}
	replicas = table{name: "replica servers", right: map[int]bool{4: true, 5: true, 6: true},
		header: []string{"address", "status", "version", "started", "primaries", "secondaries", "open", ""}}
	for _, n := range sv.Nodes {
		held := "-"
		if n.Serving >= 0 {
			held = itoa(n.Serving + n.Opening + n.Closing)
		}
		marked := mark(n.Address)
		if marked != "" {
			marked = "  " + marked // numbers end where their column does
		}
		replicas.rows = append(replicas.rows, []string{n.Address, n.Status, n.Version, n.Started, itoa(n.Primaries), itoa(n.Secondaries), held, marked})
	}
	return others, replicas
}

// summary is what an operator who has to go on needs to know: what is in force, and what each server is at.
func (sv *survey) summary(at []string) string {
	level := sv.Level
	if sv.EffectiveLevel != sv.Level {
		level += ", in effect " + sv.EffectiveLevel
	}
	texts := []string{"level " + level}
	for _, name := range sortedNames(sv.Settings) {
		value := sv.Settings[name]
		if value == "" {
			value = "empty"
		}
		texts = append(texts, name+" "+value)
	}
	others, replicas := sv.servers(at)
	return strings.Join(texts, "; ") + "\n" + replicas.String() + others.String() + sv.health()
}
