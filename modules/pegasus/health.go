package pegasus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
	"github.com/pegbook/pegbook/modules/zookeeper"
)

func waitHealthyModule() *modules.Module {
	return modules.Define("wait_healthy", `Wait until a system is healthy

Looks once a second, says all the while what is missing, and fails with the list of it when the time is
up. What cannot be read counts as missing.

system pegasus: one meta server leads; every available table has all replicas of all partitions; no table
is being created or recalled; each of nodes is alive; and there is a table at all, unless allow_no_tables.
stable asks for that many seconds of health in a row.

system zookeeper: each of addresses answers, exactly one of them leads (or one stands alone), and every
follower is synced. Servers that refuse four-letter words are asked for a session instead, which proves
a quorum but not who leads.

system tcp: each of addresses takes a connection. system http: url answers with status.

    - wait_healthy:
        system: pegasus
        meta_servers: 10.0.0.1:34601,10.0.0.2:34601
        nodes: [10.0.0.11:34801, 10.0.0.12:34801, 10.0.0.13:34801]
        timeout: 10m

    - wait_healthy:
        system: zookeeper
        addresses: [10.0.0.1:2181, 10.0.0.2:2181, 10.0.0.3:2181]`, proposeHealthy)
}

type healthyArgs struct {
	System        string        `arg:"system,required" choices:"pegasus,zookeeper,tcp,http" doc:"what kind of system"`
	MetaServers   []string      `arg:"meta_servers" doc:"pegasus: the meta servers, ip:port each"`
	Nodes         []string      `arg:"nodes" doc:"pegasus: replica servers that must be alive, ip:port each"`
	AllowNoTables bool          `arg:"allow_no_tables" default:"false" doc:"pegasus: a cluster without tables is healthy too"`
	Addresses     []string      `arg:"addresses" doc:"zookeeper, tcp: servers, host:port each"`
	URL           string        `arg:"url" doc:"http: what to get"`
	Status        int           `arg:"status" default:"200" min:"100" max:"599" doc:"http: the status that means healthy"`
	Stable        time.Duration `arg:"stable" default:"0" doc:"how long it must stay healthy"`
	Timeout       time.Duration `arg:"timeout" default:"10m" doc:"how long to wait"`
	Round         time.Duration `arg:"round" default:"10s" doc:"pegasus: the meta server's lb_interval_ms, how often it gives replicas back; only a forecast looks at it"`
}

// healthyOutput is what the wait found in the end.
type healthyOutput struct {
	Healthy bool     `json:"healthy"`
	Missing []string `json:"missing"`
	Seconds float64  `json:"seconds"`
	// Tables and Nodes are of system pegasus.
	Tables int `json:"tables,omitempty"`
	Nodes  int `json:"nodes,omitempty"`

	ill ill
}

// UnhealthyError is a system that did not get healthy in time.
type UnhealthyError struct {
	System  string
	Waited  time.Duration
	Missing []string
}

// Error lists what was missing, each on a line of its own.
func (e *UnhealthyError) Error() string {
	const shown = 20
	list := e.Missing
	if len(list) > shown {
		list = append(list[:shown:shown], fmt.Sprintf("and %d more", len(e.Missing)-shown))
	}
	return fmt.Sprintf("%s was not healthy within %s; missing:\n  %s", e.System, e.Waited, strings.Join(list, "\n  "))
}

// look says what a system lacks. Errors of reading are something missing too; an error of its own is a
// host that cannot be reached, where no waiting helps.
type look func(ctx context.Context) ([]string, error)

// ill is how much of a Pegasus cluster a look found unhealthy.
type ill struct{ partitions, servers int }

// illness counts what is unhealthy in a view.
func illness(v *client.View, expected []wire.Address) ill {
	up, found := alive(v), ill{}
	for i := range v.Tables {
		if v.Tables[i].Status == wire.AppAvailable {
			found.partitions += v.Tables[i].Health().Unhealthy
		}
	}
	for _, addr := range expected {
		if !up[addr] {
			found.servers++
		}
	}
	return found
}

func (i ill) counts() []modules.Count {
	return []modules.Count{{Name: countUnhealthy, Left: i.partitions}, {Name: countDown, Left: i.servers}}
}

// unreachable is the error that is about the task's host and not about the system.
func unreachable(err error) error {
	var host *modules.UnreachableError
	if errors.As(err, &host) {
		return host
	}
	return nil
}

func proposeHealthy(ctx context.Context, call *modules.Call, args healthyArgs) (*modules.Proposal, error) {
	out := &healthyOutput{Missing: []string{}}
	if err := checkHealthy(args); err != nil {
		return nil, err
	}
	p := &modules.Proposal{Output: out}
	first, done, err := args.look(call, call.Host, freshWait, out)
	if err != nil {
		return nil, err
	}
	missing, err := first(ctx)
	done()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if args.System == "pegasus" {
		if p.Predicts, p.Expects, err = args.predict(ctx, call, len(missing) == 0); err != nil {
			return nil, err
		}
	}
	p.Expects += args.Stable
	if len(missing) == 0 && args.Stable == 0 {
		out.Healthy = true
		return p, nil
	}
	// Check mode cannot know whether a system that lacks something would get it.
	p.Waits = len(missing) > 0
	p.Message = "waits for: " + strings.Join(missing[:min(3, len(missing))], "; ")
	if !p.Waits {
		p.Message = ""
		if p.Predicts == nil {
			p.Predicts = map[string]string{}
		}
	}
	p.Do = func(ctx context.Context, host modules.Host) error { return waitHealthy(ctx, call, host, args, out) }
	return p, nil
}

func checkHealthy(args healthyArgs) error {
	given := map[string]bool{"meta_servers": len(args.MetaServers) > 0, "addresses": len(args.Addresses) > 0, "url": args.URL != ""}
	want := map[string]string{"pegasus": "meta_servers", "zookeeper": "addresses", "tcp": "addresses", "http": "url"}[args.System]
	if !given[want] {
		return &modules.ArgumentError{Arg: want, Problem: fmt.Sprintf("system %s needs %s", args.System, want)}
	}
	for _, n := range args.Nodes {
		if _, err := wire.ParseAddress(n); err != nil {
			return &modules.ArgumentError{Arg: "nodes", Problem: "nodes: " + err.Error()}
		}
	}
	return nil
}

// predict is what the wait's success would leave: a cluster that is there, with every partition's
// members back after a predicted restart. healing is how long that takes.
func (a healthyArgs) predict(ctx context.Context, call *modules.Call, healthyNow bool) (left map[string]string, healing time.Duration, err error) {
	s, err := open(call, call.Host, clusterArgs{MetaServers: a.MetaServers, Timeout: a.Timeout})
	if err != nil {
		return nil, 0, err
	}
	defer s.Close()
	m := s.predictions("up", "yes")
	if _, any := s.predicted("partitions"); !any || !healthyNow {
		return m, 0, nil
	}
	v, err := s.View(ctx)
	if err != nil {
		return nil, 0, err
	}
	for i := range v.Tables {
		for j := range v.Tables[i].Partitions {
			p := &v.Tables[i].Partitions[j]
			text, ok := s.predicted("partition/" + p.PID.String())
			if !ok {
				continue
			}
			back := *p
			var secondaries []wire.Address
			if back.Primary, secondaries = parseMembers(text); len(secondaries) < len(p.Secondaries) {
				healing = a.healing()
			}
			back.Secondaries = without(append([]wire.Address{p.Primary}, p.Secondaries...), back.Primary)
			s.predictPartition(m, &back)
		}
	}
	for _, n := range v.Nodes {
		m[s.prefix+"closed/"+n.Node.Address.String()] = "no"
	}
	return m, healing, nil
}

func waitHealthy(ctx context.Context, call *modules.Call, host modules.Host, args healthyArgs, out *healthyOutput) error {
	started := time.Now()
	deadline := started.Add(args.Timeout)
	looks, done, err := args.look(call, host, 5*time.Second, out)
	if err != nil {
		return err
	}
	defer done()
	defer func() { out.Seconds = time.Since(started).Round(100 * time.Millisecond).Seconds() }()
	progress := args.progress(call)
	var since time.Time
	for {
		missing, err := looks(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		out.Missing = missing
		if len(missing) > 0 {
			since = time.Time{}
			progress.left(shortList(missing), args.counts(out)...)
		} else if since.IsZero() {
			since = time.Now()
			progress.enters(args.System+" stays healthy", args.Stable)
			progress.left("", args.counts(out)...)
		}
		if !since.IsZero() && time.Since(since) >= args.Stable {
			out.Healthy, out.Missing = true, []string{}
			return nil
		}
		if time.Now().After(deadline) {
			return &UnhealthyError{System: args.System, Waited: args.Timeout, Missing: missing}
		}
		again := healthyLook
		if !since.IsZero() {
			again = min(again, args.Stable-time.Since(since))
		}
		if err := pause(ctx, again); err != nil {
			return err
		}
	}
}

func (a healthyArgs) progress(call *modules.Call) *progress {
	usual := time.Duration(0)
	if a.System == "pegasus" {
		usual = a.healing()
	}
	return &progress{call: call, phase: "waits for " + a.System, usual: usual}
}

// healing is how long it takes as a rule until replicas are back: the meta server gives them back in its next round,
// which is half a round away on average, and so is the look that finds them there.
func (a healthyArgs) healing() time.Duration { return (a.Round + healthyLook) / 2 }

// healthyLook is the time between two looks.
const healthyLook = time.Second

// counts are what the last look found.
func (a healthyArgs) counts(out *healthyOutput) []modules.Count {
	if a.System == "pegasus" {
		return out.ill.counts()
	}
	return []modules.Count{{Name: "missing", Left: len(out.Missing)}}
}

func shortList(missing []string) string {
	const shown = 3
	text := strings.Join(missing[:min(len(missing), shown)], "; ")
	if len(missing) > shown {
		text += fmt.Sprintf("; and %d more", len(missing)-shown)
	}
	return text
}

// look makes the look of a system. done ends it. leader bounds how long one look waits for a meta server
// to lead.
func (a healthyArgs) look(call *modules.Call, host modules.Host, leader time.Duration, out *healthyOutput) (look, func(), error) {
	nothing := func() {}
	switch a.System {
	case "pegasus":
		c, err := client.New(host.Dial, clusterArgs{MetaServers: a.MetaServers}.metas(),
			client.Options{Note: call.Note, LeaderTimeout: leader})
		if err != nil {
			return nil, nil, &modules.ArgumentError{Arg: "meta_servers", Problem: "meta_servers: " + err.Error()}
		}
		return func(ctx context.Context) ([]string, error) { return a.lookPegasus(ctx, c, out) }, c.Close, nil
	case "zookeeper":
		return func(ctx context.Context) ([]string, error) { return a.lookZooKeeper(ctx, host) }, nothing, nil
	case "tcp":
		return func(ctx context.Context) ([]string, error) { return a.lookTCP(ctx, host) }, nothing, nil
	}
	return func(ctx context.Context) ([]string, error) { return a.lookHTTP(ctx, host) }, nothing, nil
}

func (a healthyArgs) lookPegasus(ctx context.Context, c *client.Client, out *healthyOutput) ([]string, error) {
	v, err := c.View(ctx)
	if err != nil {
		return []string{err.Error()}, unreachable(err)
	}
	var expected []wire.Address
	for _, n := range a.Nodes {
		addr, err := wire.ParseAddress(n)
		if err != nil {
			return nil, err
		}
		expected = append(expected, addr)
	}
	out.Tables, out.Nodes, out.ill = len(v.Tables), len(v.Nodes), illness(v, expected)
	return v.Missing(expected, a.AllowNoTables), nil
}

func (a healthyArgs) lookZooKeeper(ctx context.Context, host modules.Host) ([]string, error) {
	var mu sync.Mutex // guards lost
	var lost error
	missing := zookeeper.Missing(ctx, func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := host.Dial(ctx, network, addr)
		if barred := unreachable(err); barred != nil {
			mu.Lock()
			lost = barred
			mu.Unlock()
		}
		return conn, err
	}, a.Addresses)
	mu.Lock()
	defer mu.Unlock()
	return missing, lost
}

func (a healthyArgs) lookTCP(ctx context.Context, host modules.Host) ([]string, error) {
	var missing []string
	for _, addr := range a.Addresses {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		conn, err := host.Dial(ctx, "tcp", addr)
		cancel()
		if lost := unreachable(err); lost != nil {
			return nil, lost
		}
		if err != nil {
			missing = append(missing, fmt.Sprintf("%s takes no connection: %v", addr, err))
			continue
		}
		_ = conn.Close()
	}
	return missing, nil
}

func (a healthyArgs) lookHTTP(ctx context.Context, host modules.Host) ([]string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Second, errors.New("no answer within 5s"))
	defer cancel()
	transport := &http.Transport{DialContext: host.Dial, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL, nil)
	if err != nil {
		return nil, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", a.URL, err)}, unreachable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	if resp.StatusCode != a.Status {
		return []string{fmt.Sprintf("%s answers %s instead of %d", a.URL, resp.Status, a.Status)}, nil
	}
	return nil, nil
}
