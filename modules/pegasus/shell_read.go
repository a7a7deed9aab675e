package pegasus

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// nodeRow is a replica server; the counts are there with -d.
type nodeRow struct {
	Address   string `json:"address"`
	Status    string `json:"status"`
	Replicas  *int   `json:"replica_count,omitempty"`
	Primaries *int   `json:"primary_count,omitempty"`
	Secondary *int   `json:"secondary_count,omitempty"`
}

// tableRow is a table; the health is there with -d, of an available one.
type tableRow struct {
	ID         int               `json:"app_id"`
	Name       string            `json:"app_name"`
	Status     string            `json:"status"`
	Partitions int               `json:"partition_count"`
	Replicas   int               `json:"replica_count"`
	Envs       map[string]string `json:"envs"`
	Health     *client.Health    `json:"health,omitempty"`
}

// appRow is one table with its partitions.
type appRow struct {
	ID         int            `json:"app_id"`
	Name       string         `json:"app_name"`
	Partitions int            `json:"partition_count"`
	Replicas   int            `json:"max_replica_count"`
	Members    []partitionRow `json:"replicas,omitzero"`
	Health     *client.Health `json:"healthy,omitempty"`
}

// partitionRow is who serves a partition.
type partitionRow struct {
	Index       int      `json:"pidx"`
	Ballot      int      `json:"ballot"`
	Replicas    int      `json:"replica_count"`
	Primary     string   `json:"primary"`
	Secondaries []string `json:"secondaries"`
}

// serverRow is what a server says of its program.
type serverRow struct {
	Address string `json:"address"`
	Role    string `json:"role"`
	OK      bool   `json:"ok"`
	Error   string `json:"error,omitempty"`
	client.ServerInfo
}

func (sh *shell) clusterInfo(ctx context.Context, words []string) (*modules.Proposal, error) {
	o, err := parseOptions(words, false)
	if err == nil {
		err = o.only(0, "")
	}
	if err != nil {
		return nil, err
	}
	info, err := sh.ClusterInfo(ctx)
	if err != nil {
		return nil, err
	}
	sh.out.ClusterInfo = map[string]string{}
	t := pairs{name: "cluster_info"}
	for i, key := range info.Keys {
		value, _ := info.Value(key)
		sh.out.ClusterInfo[key] = value
		t.rows = append(t.rows, [2]string{info.Keys[i], value})
	}
	if len(t.rows) == 0 {
		return nil, fmt.Errorf("the meta server told nothing of the cluster")
	}
	if level, ok := sh.predicted("level"); ok {
		sh.out.ClusterInfo["meta_function_level"] = level
	}
	sh.out.Leader, err = sh.Leader(ctx)
	sh.out.print(t.String())
	return &modules.Proposal{}, err
}

func (sh *shell) nodes(ctx context.Context, words []string) (*modules.Proposal, error) {
	o, err := parseOptions(words, false, option{"d", "detailed", false}, option{"s", "status", true})
	if err == nil {
		err = o.only(0, "")
	}
	if err != nil {
		return nil, err
	}
	status := o.given["status"]
	if o.has("status") && !slices.Contains([]string{"all", "alive", "unalive"}, status) {
		return nil, usage("there is no status %q", status)
	}
	v, err := sh.listing(ctx, o.has("detailed"))
	if err != nil {
		return nil, err
	}
	t := table{name: "details", header: []string{"address", "status"}, right: map[int]bool{2: true, 3: true, 4: true}}
	if o.has("detailed") {
		t.header = append(t.header, "replica_count", "primary_count", "secondary_count")
	}
	sh.out.Nodes = []nodeRow{}
	alive := 0
	for _, n := range v.Nodes {
		if n.Status == wire.NodeAlive {
			alive++
		}
		if status != "" && status != "all" && !strings.EqualFold(status, n.Status.String()) {
			continue
		}
		row := nodeRow{Address: n.Node.String(), Status: n.Status.String()}
		cells := []string{row.Address, row.Status}
		if o.has("detailed") {
			primaries, secondaries := v.Holding(n.Node.Address)
			both := primaries + secondaries
			row.Replicas, row.Primaries, row.Secondary = &both, &primaries, &secondaries
			cells = append(cells, itoa(both), itoa(primaries), itoa(secondaries))
		}
		sh.out.Nodes = append(sh.out.Nodes, row)
		t.rows = append(t.rows, cells)
	}
	sh.out.print(t.String() + "\n" + pairs{"summary", [][2]string{{"total_node_count", itoa(len(v.Nodes))},
		{"alive_node_count", itoa(alive)}, {"unalive_node_count", itoa(len(v.Nodes) - alive)}}}.String())
	return &modules.Proposal{}, nil
}

// listing is the whole view, or the nodes alone where no partition is asked for.
func (sh *shell) listing(ctx context.Context, partitions bool) (*client.View, error) {
	if partitions {
		return sh.view(ctx)
	}
	nodes, err := sh.Nodes(ctx)
	return &client.View{Nodes: nodes}, err
}

func (sh *shell) ls(ctx context.Context, words []string) (*modules.Proposal, error) {
	o, err := parseOptions(words, false, option{"a", "all", false}, option{"d", "detailed", false})
	if err == nil {
		err = o.only(0, "")
	}
	if err != nil {
		return nil, err
	}
	apps, err := sh.Apps(ctx)
	if err != nil {
		return nil, err
	}
	health := map[int32]client.Health{}
	if o.has("detailed") {
		v, err := sh.view(ctx)
		if err != nil {
			return nil, err
		}
		for i := range v.Tables {
			if v.Tables[i].Status == wire.AppAvailable {
				health[v.Tables[i].ID] = v.Tables[i].Health()
			}
		}
	}
	general := table{name: "general_info", header: []string{"app_id", "status", "app_name", "app_type", "partition_count",
		"replica_count", "is_stateful", "create_time", "drop_time", "drop_expire", "envs_count"}}
	sh.out.Tables = []tableRow{}
	for _, a := range apps {
		if a.Status == wire.AppDropped && !o.has("all") {
			continue
		}
		row := tableRow{ID: int(a.ID), Name: a.Name, Status: a.Status.String(), Partitions: int(a.PartitionCount),
			Replicas: int(a.MaxReplicaCount), Envs: a.Envs}
		if h, ok := health[a.ID]; ok {
			row.Health = &h
		}
		sh.out.Tables = append(sh.out.Tables, row)
		general.rows = append(general.rows, []string{itoa(row.ID), row.Status, row.Name, a.Type, itoa(row.Partitions), itoa(row.Replicas),
			fmt.Sprint(a.Stateful), clock(a.CreateSecond), clock(a.DropSecond), clock(a.ExpireSecond), itoa(len(a.Envs))})
	}
	sh.out.print(general.String() + healthTables(sh.out.Tables, o.has("detailed")))
	return &modules.Proposal{}, nil
}

// clock is a time as the shell prints it, "-" for none.
func clock(seconds int64) string {
	if seconds <= 0 {
		return "-"
	}
	return time.Unix(seconds, 0).Format("2006-01-02_15:04:05")
}

func healthTables(rows []tableRow, detailed bool) string {
	if !detailed {
		return ""
	}
	t := table{name: "healthy_info", header: []string{"app_id", "app_name", "partition_count", "fully_healthy", "unhealthy", "write_unhealthy", "read_unhealthy"}}
	var total, fully, write, read int
	for _, r := range rows {
		h := r.Health
		if h == nil {
			continue
		}
		t.rows = append(t.rows, []string{itoa(r.ID), r.Name, itoa(h.Partitions), itoa(h.FullyHealthy), itoa(h.Unhealthy), itoa(h.WriteUnhealthy), itoa(h.ReadUnhealthy)})
		total++
		for count, counts := range map[*int]bool{&fully: h.FullyHealthy == h.Partitions, &write: h.WriteUnhealthy > 0, &read: h.ReadUnhealthy > 0} {
			if counts {
				*count++
			}
		}
	}
	return "\n" + t.String() + "\n" + pairs{"summary", [][2]string{{"total_app_count", itoa(total)}, {"fully_healthy_app_count", itoa(fully)},
		{"unhealthy_app_count", itoa(total - fully)}, {"write_unhealthy_app_count", itoa(write)}, {"read_unhealthy_app_count", itoa(read)}}}.String()
}

func (sh *shell) app(ctx context.Context, words []string) (*modules.Proposal, error) {
	o, err := parseOptions(words, false, option{"d", "detailed", false})
	if err == nil {
		err = o.only(1, "the table's name")
	}
	if err != nil {
		return nil, err
	}
	v, err := sh.view(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(v.Tables, func(t client.TableView) bool { return t.Name == o.rest[0] && t.Status == wire.AppAvailable })
	if i < 0 {
		return nil, fmt.Errorf("there is no table %s", o.rest[0])
	}
	t := &v.Tables[i]
	h := t.Health()
	app := &appRow{ID: int(t.ID), Name: t.Name, Partitions: int(t.PartitionCount), Replicas: int(t.MaxReplicaCount)}
	text := pairs{"general", [][2]string{{"app_name", t.Name}, {"app_id", itoa(app.ID)}, {"partition_count", itoa(app.Partitions)}, {"max_replica_count", itoa(app.Replicas)}}}.String()
	if o.has("detailed") {
		app.Health, app.Members = &h, []partitionRow{}
		rows := table{name: "replicas", header: []string{"pidx", "ballot", "replica_count", "primary", "secondaries"}}
		for _, p := range t.Partitions {
			row := partitionRow{Index: int(p.PID.Index), Ballot: int(p.Ballot), Replicas: client.Replicas(&p), Primary: sh.name(v, p.Primary), Secondaries: []string{}}
			for _, s := range p.Secondaries {
				row.Secondaries = append(row.Secondaries, sh.name(v, s))
			}
			app.Members = append(app.Members, row)
			rows.rows = append(rows.rows, []string{itoa(row.Index), itoa(row.Ballot), fmt.Sprintf("%d/%d", row.Replicas, p.MaxReplicaCount),
				row.Primary, "[" + strings.Join(row.Secondaries, ",") + "]"})
		}
		text += "\n" + rows.String() + "\n" + pairs{"healthy", [][2]string{{"fully_healthy_partition_count", itoa(h.FullyHealthy)},
			{"unhealthy_partition_count", itoa(h.Unhealthy)}, {"write_unhealthy_partition_count", itoa(h.WriteUnhealthy)}, {"read_unhealthy_partition_count", itoa(h.ReadUnhealthy)}}}.String()
	}
	sh.out.App = app
	sh.out.print(text)
	return &modules.Proposal{}, nil
}

// name is a node as the cluster names it.
func (sh *shell) name(v *client.View, addr wire.Address) string {
	if n, err := v.Actor(addr); err == nil {
		return n.String()
	}
	return addr.String()
}

func (sh *shell) getLevel(ctx context.Context, words []string) (*modules.Proposal, error) {
	if len(words) > 0 {
		return nil, usage("%q is too much", words[0])
	}
	level, err := sh.level(ctx)
	sh.out.Level = level
	sh.out.print("current meta level is fl_" + level)
	return &modules.Proposal{}, err
}

func (sh *shell) getEnvs(ctx context.Context, words []string) (*modules.Proposal, error) {
	if len(words) != 1 {
		return nil, usage("one table's name is needed")
	}
	app, err := sh.findApp(ctx, words[0])
	if err != nil {
		return nil, err
	}
	sh.out.Envs = app.Envs
	if sh.out.Envs == nil {
		sh.out.Envs = map[string]string{}
	}
	t := pairs{name: "app_envs"}
	for _, key := range sortedNames(app.Envs) {
		t.rows = append(t.rows, [2]string{key, app.Envs[key]})
	}
	sh.out.print(t.String())
	return &modules.Proposal{}, nil
}

func (sh *shell) replicaCount(ctx context.Context, words []string) (*modules.Proposal, error) {
	if len(words) != 1 {
		return nil, usage("one table's name is needed")
	}
	app, err := sh.findApp(ctx, words[0])
	if err != nil {
		return nil, err
	}
	sh.out.Count = int(app.MaxReplicaCount)
	sh.out.print(fmt.Sprintf("the replica count of app(%s) is %d", app.Name, app.MaxReplicaCount))
	return &modules.Proposal{}, nil
}

// findApp finds an available table.
func (s *session) findApp(ctx context.Context, name string) (wire.AppInfo, error) {
	apps, err := s.Apps(ctx)
	if err != nil {
		return wire.AppInfo{}, err
	}
	for _, a := range apps {
		if a.Name == name && a.Status != wire.AppDropped {
			return a, nil
		}
	}
	return wire.AppInfo{}, fmt.Errorf("there is no table %s", name)
}

func (sh *shell) diagnose(ctx context.Context, words []string) (*modules.Proposal, error) {
	o, err := parseOptions(words, false, option{"g", "gpid", true})
	if err == nil {
		err = o.only(0, "")
	}
	if err != nil {
		return nil, err
	}
	var id int32
	if n, _ := fmt.Sscanf(o.given["gpid"], "%d", &id); n != 1 || id <= 0 {
		return nil, usage("a table's id is needed, such as -g 2")
	}
	reply, err := client.Read(ctx, sh.Client, &wire.DiagnoseRequest{PID: wire.GPID{App: id, Index: -1}})
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("%s of table %d without any replica", plural(len(reply.Partitions), "partition"), id)
	for _, p := range reply.Partitions {
		text += fmt.Sprintf("\n%s: %s", p.Config.PID, p.Reason)
	}
	sh.out.Count = len(reply.Partitions)
	sh.out.print(text)
	return &modules.Proposal{}, nil
}
