package pegasus

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// metricNames are the metrics of 2.6 with the counters of 2.5 that they took
// the place of.
func metricNames() [][2]string {
	return [][2]string{
		{"total_replicas", "replica*eon.replica_stub*replica(Count)"},
		{"opening_replicas", "replica*eon.replica_stub*opening.replica(Count)"},
		{"closing_replicas", "replica*eon.replica_stub*closing.replica(Count)"},
		{"learning_replicas", "replica*eon.replica_stub*replicas.learning.count"},
		{"resident_mem_usage_mb", "replica*server*memused.res(MB)"},
		{"virtual_mem_usage_mb", "replica*server*memused.virt(MB)"},
		{"unalive_nodes", "meta*eon.meta_service*unalive_nodes"},
	}
}

type metricJSON struct {
	Name  string `json:"name"`
	Value int64  `json:"value"`
}

type entityJSON struct {
	Type       string            `json:"type"`
	ID         string            `json:"id"`
	Attributes map[string]string `json:"attributes"`
	Metrics    []metricJSON      `json:"metrics"`
}

type metricsJSON struct {
	Cluster  string       `json:"cluster"`
	Role     string       `json:"role"`
	Host     string       `json:"host"`
	Port     uint16       `json:"port"`
	At       int64        `json:"timestamp_ns"`
	Entities []entityJSON `json:"entities"`
}

// httpMetrics is /metrics of 2.6 (facts/pegasus.md §4.4): live values, real
// numbers, and filters by the entity's type and the metric's name.
func (p *process) httpMetrics(query []param) httpReply {
	wanted := func(key, name string) bool {
		list := lookup(query, key)
		return list == "" || slices.Contains(strings.Split(list, ","), name)
	}
	e := entityJSON{Type: "server", ID: p.role, Attributes: map[string]string{}, Metrics: []metricJSON{}}
	values := p.actor.measure()
	for _, n := range metricNames() {
		i := slices.IndexFunc(values, func(c counter) bool { return c.name == n[1] })
		if i >= 0 && wanted("metrics", n[0]) {
			e.Metrics = append(e.Metrics, metricJSON{n[0], int64(values[i].value)})
		}
	}
	out := metricsJSON{Cluster: p.config.ClusterName, Role: p.role + "-server", Host: p.self.Addr().String(), Port: p.self.Port(),
		At: time.Now().UnixNano(), Entities: []entityJSON{}}
	if wanted("types", "server") {
		out.Entities = append(out.Entities, e)
	}
	raw, err := json.MarshalIndent(out, "", "    ")
	if err != nil {
		panic("pegasus: metrics do not encode: " + err.Error())
	}
	return plain(200, string(raw)+"\n")
}
