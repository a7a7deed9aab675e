package pegasus

import (
	"encoding/json"
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pegbook/pegbook/lab/pegasus/internal/release"
)

// command answers a remote command in the words of release 2.5; worded puts a
// later release's JSON around it.
func (p *process) command(name string, args []string) string {
	if !p.release().Has(name) {
		return fmt.Sprintf("unknown command '%s'", name)
	}
	p.toldCommand(name, args)
	switch name {
	case "server-info":
		return fmt.Sprintf("%s, Started at %s", p.Version, p.start.Format("2006-01-02 15:04:05"))
	case "server-stat":
		return p.serverStat()
	case "help":
		return helpOn(args)
	case "perf-counters":
		return p.perfCounters(args, matchRegexp)
	case "perf-counters-by-substr":
		return p.perfCounters(args, func(a string) (func(string) bool, error) {
			return func(n string) bool { return strings.Contains(n, a) }, nil
		})
	case "perf-counters-by-prefix":
		return p.perfCounters(args, func(a string) (func(string) bool, error) {
			return func(n string) bool { return strings.HasPrefix(n, a) }, nil
		})
	case "perf-counters-by-postfix":
		return p.perfCounters(args, func(a string) (func(string) bool, error) {
			return func(n string) bool { return strings.HasSuffix(n, a) }, nil
		})
	case "sim.crash":
		p.abort("simulator: sim.crash was asked for")
		return "OK"
	case "sim.fault":
		return p.fault(args)
	}
	if reply, ok := p.actor.command(p.life, name, args); ok {
		return reply
	}
	if name == "flush-log" {
		return "Flush done."
	}
	return fmt.Sprintf("unknown command '%s'", name)
}

// fault sets how this process misbehaves: "key=value" each, or "clear"; without
// arguments it tells what differs from what is usual.
func (p *process) fault(args []string) string {
	if len(args) == 0 {
		return p.config.Faults()
	}
	if err := p.config.SetFaults(strings.Join(args, ";")); err != nil {
		return "ERR: " + err.Error()
	}
	return "OK"
}

func helpOn(args []string) string {
	if len(args) == 0 {
		return "help|Help|h|H [command] - display help information"
	}
	return fmt.Sprintf("cannot find command '%s'", args[0])
}

// matchRegexp is std::regex_match with the basic grammar: the whole name, and
// parentheses and braces are ordinary characters.
func matchRegexp(pattern string) (func(string) bool, error) {
	quoted := regexp.MustCompile(`[(){}|+?]`).ReplaceAllString(pattern, `\$0`)
	re, err := regexp.Compile(`^(?:` + quoted + `)$`)
	if err != nil {
		return nil, err
	}
	return re.MatchString, nil
}

// counter is one performance counter.
type counter struct {
	name, help string
	value      float64
}

// snapshot is the counters as of the last refresh: remote commands see only
// these, up to ten seconds old and none at first.
type snapshot struct {
	mu   sync.Mutex // guards at, list
	at   time.Time
	list []counter
}

func (s *snapshot) get() (time.Time, []counter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at, s.list
}

func (p *process) refreshCounters() {
	every := max(p.config.Scaled(p.config.CounterRefresh), 5*time.Millisecond)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-p.life.Done():
			return
		case now := <-tick.C:
			list := p.actor.measure()
			if p.release() >= release.R26 {
				list = nil // metrics took their place
			}
			p.counters.mu.Lock()
			p.counters.at, p.counters.list = now, list
			p.counters.mu.Unlock()
		}
	}
}

// perfJSON is the answer of perf-counters; the order of its fields is fixed.
type perfJSON struct {
	Result    string        `json:"result"`
	Timestamp int64         `json:"timestamp"`
	Text      string        `json:"timestamp_str"`
	Counters  []counterJSON `json:"counters"`
}

type counterJSON struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Value double `json:"value"`
}

// double is a number that always shows a fraction.
type double float64

func (d double) MarshalJSON() ([]byte, error) {
	text := strconv.FormatFloat(float64(d), 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return []byte(text), nil
}

func (p *process) perfCounters(filters []string, match func(string) (func(string) bool, error)) string {
	at, list := p.counters.get()
	out := perfJSON{Result: "OK", Counters: []counterJSON{}, Text: "1970-01-01 00:00:00"}
	if !at.IsZero() {
		out.Timestamp, out.Text = at.Unix(), at.Format("2006-01-02 15:04:05")
	}
	for _, f := range filters {
		fits, err := match(f)
		if err != nil {
			out.Result, out.Counters = "ERROR: invalid filter: "+f, []counterJSON{}
			break
		}
		for _, c := range list {
			if fits(c.name) {
				out.Counters = append(out.Counters, counterJSON{c.name, "NUMBER", double(c.value)})
			}
		}
	}
	raw, err := json.Marshal(out)
	if err != nil {
		panic("pegasus: counters do not encode: " + err.Error())
	}
	return string(raw)
}

// statNames are the counters of server-stat and the names it gives them.
func statNames() [][2]string {
	return [][2]string{
		{"replica*app.pegasus*manual.compact.enqueue.count", "manual_compact_enqueue_count"},
		{"replica*app.pegasus*manual.compact.running.count", "manual_compact_running_count"},
		{"replica*app.pegasus*rdb.block_cache.memory_usage", "rdb_block_cache_memory_usage"},
		{"replica*eon.replica_stub*closing.replica(Count)", "closing_replica_count"},
		{"replica*eon.replica_stub*disk.available.max.ratio", "disk_available_max_ratio"},
		{"replica*eon.replica_stub*disk.available.min.ratio", "disk_available_min_ratio"},
		{"replica*eon.replica_stub*disk.available.total.ratio", "disk_available_total_ratio"},
		{"replica*eon.replica_stub*disk.capacity.total(MB)", "disk_capacity_total(MB)"},
		{"replica*eon.replica_stub*opening.replica(Count)", "opening_replica_count"},
		{"replica*eon.replica_stub*replica(Count)", "serving_replica_count"},
		{"replica*eon.replica_stub*replicas.commit.qps", "commit_throughput"},
		{"replica*eon.replica_stub*replicas.learning.count", "learning_count"},
		{"replica*eon.replica_stub*shared.log.size(MB)", "shared_log_size(MB)"},
		{"replica*server*memused.res(MB)", "memused_res(MB)"},
		{"replica*server*memused.virt(MB)", "memused_virt(MB)"},
		{"zion*profiler*RPC_RRDB_RRDB_GET.latency.server", "get_p99(ns)"},
		{"zion*profiler*RPC_RRDB_RRDB_GET.qps", "get_qps"},
		{"zion*profiler*RPC_RRDB_RRDB_MULTI_GET.latency.server", "multi_get_p99(ns)"},
		{"zion*profiler*RPC_RRDB_RRDB_MULTI_GET.qps", "multi_get_qps"},
		{"zion*profiler*RPC_RRDB_RRDB_PUT.latency.server", "put_p99(ns)"},
		{"zion*profiler*RPC_RRDB_RRDB_PUT.qps", "put_qps"},
	}
}

// serverStat lists the counters it finds by their short names, then those it
// does not find, by their long ones.
func (p *process) serverStat() string {
	_, list := p.counters.get()
	values := map[string]float64{}
	for _, c := range list {
		values[c.name] = c.value
	}
	var found, missing []string
	for _, n := range statNames() {
		if v, ok := values[n[0]]; ok {
			found = append(found, fmt.Sprintf("%s=%d", n[1], int64(v)))
		} else {
			missing = append(missing, n[0]+"=not_found")
		}
	}
	sort.Strings(missing)
	return strings.Join(append(found, missing...), ", ")
}
