package pegasus

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/lab/pegasus/internal/meta"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

func (m *metaRole) calls() map[string]string {
	return map[string]string{
		"/meta/app": "ip:port/meta/app?app_name=temp", "/meta/app/duplication": "ip:port/meta/app/duplication?name=<app_name>",
		"/meta/app/query_bulk_load":  "ip:port/meta/query_bulk_load?name=temp",
		"/meta/app/start_bulk_load":  "ip:port/meta/start_bulk_load",
		"/meta/app/start_compaction": "ip:port/meta/start_compaction",
		"/meta/app/usage_scenario":   "ip:port/meta/app/usage_scenario",
		"/meta/app_envs":             "ip:port/meta/app_envs?name=temp", "/meta/apps": "ip:port/meta/apps",
		"/meta/backup_policy": "ip:port/meta/backup_policy", "/meta/cluster": "ip:port/meta/cluster",
		"/meta/nodes": "ip:port/meta/nodes",
	}
}

// set changes the one mutable flag that changes what the simulator does. A
// standby takes it and forgets it.
func (m *metaRole) set(key string, value int64) bool {
	if key != "min_live_node_count_for_unfreeze" {
		return false
	}
	if s, _, _ := m.view(); s != nil {
		s.SetMinLiveNodes(value)
	}
	return true
}

// http answers /meta/*. A standby of 2.5.0 does not redirect: it answers from
// its own empty state, and /meta/cluster kills it (facts/pegasus.md §4.5).
func (m *metaRole) http(path string, query []param) (httpReply, bool) {
	s, _, leader := m.view()
	if s == nil && m.p.release().StandbyRedirects() && strings.HasPrefix(path, "/meta/") {
		return m.redirect(path, query, leader), true
	}
	detail := false
	for _, q := range query {
		switch {
		case q.key == "detail":
			detail = true
		case q.key != "name":
			if _, known := m.calls()[path]; known {
				return plain(400, ""), true
			}
		}
	}
	switch path {
	case "/meta/cluster":
		return m.httpCluster(s), true
	case "/meta/nodes":
		return httpNodes(s, detail), true
	case "/meta/apps":
		return httpTables(s, detail), true
	case "/meta/app":
		return httpTable(s, lookup(query, "name"), detail), true
	case "/meta/app_envs":
		return httpEnvs(s, lookup(query, "name")), true
	case "/meta/backup_policy":
		return httpPolicies(s, query), true
	}
	return httpReply{}, false
}

// httpPolicies is /meta/backup_policy.
func httpPolicies(s *meta.State, query []param) httpReply {
	if s == nil {
		return okJSON(nil)
	}
	var names []string
	for _, q := range query {
		if q.key == "name" {
			names = append(names, q.value)
		}
	}
	list, code, _ := s.Policies(names, 0)
	if code == "ERR_SERVICE_NOT_ACTIVE" {
		return plain(404, "cold_backup_disabled")
	}
	var o object
	for _, p := range list {
		status := "enabled"
		if p.Disabled {
			status = "disabled"
		}
		ids := make([]string, 0, len(p.Apps))
		for _, id := range p.Apps {
			ids = append(ids, strconv.Itoa(int(id)))
		}
		o = append(o, field{p.Name, object{{"name", text(p.Name)}, {"backup_provider_type", text(p.Provider)},
			{"backup_interval", text(strconv.FormatInt(p.Interval, 10))}, {"app_ids", text("[" + strings.Join(ids, ",") + "]")},
			{"start_time", text(p.StartTime)}, {"status", text(status)}, {"backup_history_count", text(strconv.Itoa(int(p.Keep)))}}})
	}
	return okJSON(o)
}

// redirect sends a client to the leader; without one the address is no address.
func (m *metaRole) redirect(path string, query []param, leader peer.Addr) httpReply {
	to := "invalid address"
	if leader.IsValid() {
		to = leader.String()
	}
	var args []string
	for _, q := range query {
		if q.value == "" {
			args = append(args, q.key)
		} else {
			args = append(args, q.key+"="+q.value)
		}
	}
	where := "http://" + to + path
	if len(args) > 0 {
		where += "?" + strings.Join(args, "&")
	}
	return httpReply{status: 307, location: where}
}

func (m *metaRole) httpCluster(s *meta.State) httpReply {
	if s == nil {
		fmt.Fprintln(m.p.Out, "got signal id: 11")
		m.p.hazard("GET /meta/cluster on a meta server that does not lead crashes it")
		return httpReply{}
	}
	var o object
	for _, row := range s.ClusterInfo() {
		if row.Key != "cluster_name" { // RPC only
			o = append(o, field{row.Key, text(row.Value)})
		}
	}
	return okJSON(o)
}

func number(n int) text { return text(strconv.Itoa(n)) }

// tally counts replicas for each node.
type tally struct{ primary, secondary map[peer.Addr]int }

func newTally() tally { return tally{map[peer.Addr]int{}, map[peer.Addr]int{}} }

func (t tally) add(parts []peer.Config) {
	for _, c := range parts {
		if c.Primary.IsValid() {
			t.primary[c.Primary]++
		}
		for _, a := range c.Secondaries {
			t.secondary[a]++
		}
	}
}

func httpNodes(s *meta.State, detail bool) httpReply {
	var nodes []meta.Node
	counts := newTally()
	if s != nil {
		nodes = s.Nodes()
		for _, t := range s.Tables(meta.Available) {
			_, parts, _ := s.Partitions(t.Name, nil)
			counts.add(parts)
		}
	}
	var details object
	alive := 0
	for _, n := range nodes {
		status := text("UNALIVE")
		if n.Alive {
			status = "ALIVE"
			alive++
		}
		row := object{{"address", text(n.Addr.String())}, {"status", status}}
		if detail {
			p, q := counts.primary[n.Addr], counts.secondary[n.Addr]
			row = append(row, field{"replica_count", number(p + q)}, field{"primary_count", number(p)}, field{"secondary_count", number(q)})
		}
		details = append(details, field{n.Addr.String(), row})
	}
	return okJSON(object{{"details", details}, {"summary", object{
		{"total_node_count", number(len(nodes))}, {"alive_node_count", number(alive)}, {"unalive_node_count", number(len(nodes) - alive)}}}})
}

// health is the shell's classification of a table's partitions.
type health struct{ full, ill, writeIll, readIll int }

func (h *health) add(c peer.Config) {
	n := c.Replicas()
	if c.Primary.IsValid() && n >= int(c.MaxReplicas) {
		h.full++
		return
	}
	h.ill++
	if !c.Primary.IsValid() {
		h.writeIll++
		h.readIll++
	} else if n < 2 {
		h.writeIll++
	}
}

func statusName(status int32) text {
	names := map[int32]text{1: "AVAILABLE", 2: "CREATING", 4: "DROPPING", 6: "DROPPED", 7: "RECALLING"}
	return names[status]
}

func when(second int64) text {
	if second <= 0 {
		return "-"
	}
	return text(time.Unix(second, 0).Format("2006-01-02 15:04:05.0"))
}

func httpTables(s *meta.State, detail bool) httpReply {
	var general, healthy object
	var total, sick health
	tables, available := []meta.Table{}, 0
	if s != nil {
		tables = s.Tables(0)
	}
	for _, t := range tables {
		id := number(int(t.ID))
		general = append(general, field{string(id), object{{"app_id", id}, {"status", statusName(t.Status)}, {"app_name", text(t.Name)},
			{"app_type", text(t.Type)}, {"partition_count", number(int(t.Partitions))}, {"replica_count", number(int(t.Replicas))},
			{"is_stateful", text(strconv.FormatBool(t.Stateful))}, {"create_time", when(t.Created)}, {"drop_time", when(t.DroppedAt)},
			{"drop_expire", when(t.Expire)}, {"envs_count", number(len(t.Envs))}}})
		if t.Status != meta.Available {
			continue
		}
		available++
		if detail {
			healthy = append(healthy, field{string(id), tableHealth(s, t, &total, &sick)})
		}
	}
	o := object{{"general_info", general}}
	if detail && available > 0 {
		o = append(o, field{"healthy_info", healthy})
	}
	summary := object{{"total_app_count", number(available)}}
	if detail {
		summary = append(summary, field{"fully_healthy_app_count", number(total.full)}, field{"unhealthy_app_count", number(sick.ill)},
			field{"write_unhealthy_app_count", number(sick.writeIll)}, field{"read_unhealthy_app_count", number(sick.readIll)})
	}
	return okJSON(append(o, field{"summary", summary}))
}

// tableHealth is a table's row; it also counts the table in the summary.
func tableHealth(s *meta.State, t meta.Table, well, sick *health) object {
	_, parts, _ := s.Partitions(t.Name, nil)
	var h health
	for _, c := range parts {
		h.add(c)
	}
	if h.ill == 0 {
		well.full++
	} else {
		sick.ill++
	}
	if h.writeIll > 0 {
		sick.writeIll++
	}
	if h.readIll > 0 {
		sick.readIll++
	}
	return object{{"app_id", number(int(t.ID))}, {"app_name", text(t.Name)}, {"partition_count", number(int(t.Partitions))},
		{"fully_healthy", number(h.full)}, {"unhealthy", number(h.ill)}, {"write_unhealthy", number(h.writeIll)}, {"read_unhealthy", number(h.readIll)}}
}

func httpTable(s *meta.State, name string, detail bool) httpReply {
	t, parts, code := meta.Table{}, []peer.Config(nil), "ERR_OBJECT_NOT_FOUND"
	if s != nil {
		t, parts, code = s.Partitions(name, nil)
	}
	if code != meta.OK {
		return plain(404, fmt.Sprintf("table not found: %q", name))
	}
	o := object{{"general", object{{"app_name", text(t.Name)}, {"app_id", number(int(t.ID))},
		{"partition_count", number(int(t.Partitions))}, {"max_replica_count", number(int(t.Replicas))}}}}
	if detail {
		o = append(o, tableDetail(s, parts)...)
	}
	return okJSON(o)
}

func tableDetail(s *meta.State, parts []peer.Config) object {
	var replicas, nodes object
	var h health
	counts := newTally()
	counts.add(parts)
	for i, c := range parts {
		h.add(c)
		primary, members := text("-"), make([]string, 0, len(c.Secondaries))
		if c.Primary.IsValid() {
			primary = text(c.Primary.String())
		}
		for _, a := range c.Secondaries {
			members = append(members, a.String())
		}
		replicas = append(replicas, field{strconv.Itoa(i), object{{"pidx", number(i)}, {"ballot", number(int(c.Ballot))},
			{"replica_count", text(fmt.Sprintf("%d/%d", c.Replicas(), c.MaxReplicas))}, {"primary", primary},
			{"secondaries", text("[" + strings.Join(members, ",") + "]")}}})
	}
	row := func(name string, p, q int) field {
		return field{name, object{{"node", text(name)}, {"primary", number(p)}, {"secondary", number(q)}, {"total", number(p + q)}}}
	}
	var p, q int
	for _, n := range s.Nodes() {
		a := n.Addr
		if counts.primary[a]+counts.secondary[a] > 0 {
			nodes = append(nodes, row(a.String(), counts.primary[a], counts.secondary[a]))
			p, q = p+counts.primary[a], q+counts.secondary[a]
		}
	}
	nodes = append(nodes, row("total", p, q))
	return object{{"replicas", replicas}, {"nodes", nodes}, {"healthy", object{
		{"fully_healthy_partition_count", number(h.full)}, {"unhealthy_partition_count", number(h.ill)},
		{"write_unhealthy_partition_count", number(h.writeIll)}, {"read_unhealthy_partition_count", number(h.readIll)}}}}
}

func httpEnvs(s *meta.State, name string) httpReply {
	if name == "" {
		return plain(400, "app name shouldn't be empty")
	}
	if s == nil {
		return plain(404, fmt.Sprintf("table not found: %q", name))
	}
	t, _, code := s.Partitions(name, nil)
	if code != meta.OK {
		return plain(404, fmt.Sprintf("table not found: %q", name))
	}
	var o object
	for _, k := range sortedKeys(t.Envs) {
		o = append(o, field{k, text(t.Envs[k])})
	}
	return okJSON(o)
}
