package zookeeper

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pegbook/pegbook/modules/zksession"
)

// Missing says what an ensemble of these servers lacks; nothing when it is healthy: every server serves,
// exactly one leads (or the only one stands alone), and the leader counts every follower as synced.
func Missing(ctx context.Context, dial zksession.Dial, servers []string) []string {
	servers = zksession.SplitServers(servers)
	states := make([]serverState, len(servers))
	var wg sync.WaitGroup
	for i, server := range servers {
		wg.Go(func() { states[i] = ask(ctx, dial, server) })
	}
	wg.Wait()
	return judge(servers, states)
}

// serverState is what a server says of itself.
type serverState struct {
	// mode is leader, follower, observer or standalone; "unknown" for a server that gives sessions and
	// does not say.
	mode string
	// synced is how many followers a leader counts as synced; -1 when it does not say.
	synced  int
	problem string
}

func judge(servers []string, states []serverState) []string {
	var missing, leaders []string
	followers, unknown, synced := 0, 0, -1
	for i, s := range states {
		switch {
		case s.problem != "":
			missing = append(missing, servers[i]+" "+s.problem)
		case s.mode == "leader":
			leaders = append(leaders, servers[i])
			synced = s.synced
		case s.mode == "follower":
			followers++
		case s.mode == "unknown":
			unknown++
		case s.mode == "standalone" && len(servers) > 1:
			missing = append(missing, servers[i]+" stands alone instead of being a member of the ensemble")
		}
	}
	alone := len(servers) == 1 && len(missing) == 0 && len(leaders) == 0 && followers == 0
	switch {
	case len(servers) == 0:
		missing = append(missing, "no server is given")
	case len(leaders) > 1:
		missing = append(missing, "more than one server leads: "+strings.Join(leaders, ", "))
	case len(leaders) == 0 && unknown == 0 && !alone:
		missing = append(missing, "no server leads")
	case len(leaders) == 1 && synced >= 0 && synced < followers:
		missing = append(missing, fmt.Sprintf("%s counts %d of %d followers as synced", leaders[0], synced, followers))
	}
	return missing
}

func ask(ctx context.Context, dial zksession.Dial, server string) serverState {
	answer, err := word(ctx, dial, server, "srvr")
	if err != nil {
		return serverState{problem: "does not answer: " + err.Error()}
	}
	if mode := line(answer, "Mode:"); mode != "" {
		s := serverState{mode: mode, synced: -1}
		if mode == "leader" {
			s.synced = syncedFollowers(ctx, dial, server)
		}
		return s
	}
	if strings.Contains(answer, "not currently serving requests") {
		return serverState{problem: "serves no requests; it has no quorum or is starting"}
	}
	// The words are not allowed there (4lw.commands.whitelist): a session proves that it serves.
	_, closed, err := zksession.Connect(ctx, zksession.Options{Dial: dial, Servers: []string{server}, Wait: 5 * time.Second})
	if err != nil {
		return serverState{problem: "gives no session: " + err.Error()}
	}
	closed()
	return serverState{mode: "unknown", synced: -1}
}

func syncedFollowers(ctx context.Context, dial zksession.Dial, server string) int {
	answer, err := word(ctx, dial, server, "mntr")
	if err != nil {
		return -1
	}
	n, err := strconv.ParseFloat(line(answer, "zk_synced_followers"), 64)
	if err != nil {
		return -1
	}
	return int(n)
}

// line is what stands behind a name at the start of a line.
func line(text, name string) string {
	for scanner := bufio.NewScanner(strings.NewReader(text)); scanner.Scan(); {
		if rest, ok := strings.CutPrefix(scanner.Text(), name); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// word sends a four-letter word and gives the answer.
func word(ctx context.Context, dial zksession.Dial, server, what string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := dial(ctx, "tcp", server)
	if err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, what); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(io.LimitReader(conn, 1<<20))
	if len(answer) == 0 && err != nil {
		return "", err
	}
	return string(answer), nil
}
