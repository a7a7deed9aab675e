package zookeeper

import (
	"fmt"
	"strings"
	"time"
)

// version is the ZooKeeper whose behaviour this server follows; tools tell it from the words' answers.
const version = "3.8.0-pegbook, built on 2022-03-01 00:00 UTC"

// word answers a four-letter word; false when it is none.
func (s *Server) word(w string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch w {
	case "ruok":
		return "imok", true
	case "isro":
		return "rw", true
	case "srvr":
		return s.srvr(false), true
	case "stat":
		return s.srvr(true), true
	case "mntr":
		return s.mntr(), true
	case "conf":
		return s.conf(), true
	}
	return "", false
}

func (s *Server) srvr(clients bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Zookeeper version: %s\n", version)
	if clients {
		b.WriteString("Clients:\n")
		for c := range s.conns {
			fmt.Fprintf(&b, " /%s[%d]\n", c.nc.RemoteAddr(), btoi(c.session != nil))
		}
		b.WriteString("\n")
	}
	b.WriteString("Latency min/avg/max: 0/0.0/0\n")
	fmt.Fprintf(&b, "Received: %d\nSent: %d\nConnections: %d\nOutstanding: 0\n", s.received, s.sent, len(s.conns))
	fmt.Fprintf(&b, "Zxid: 0x%x\nMode: standalone\nNode count: %d\n", s.zxid, len(s.tree.nodes))
	return b.String()
}

func (s *Server) mntr() string {
	var b strings.Builder
	line := func(key string, value any) { fmt.Fprintf(&b, "zk_%s\t%v\n", key, value) }
	line("version", version)
	line("server_state", "standalone")
	line("uptime", time.Since(s.started).Milliseconds())
	line("num_alive_connections", len(s.conns))
	line("outstanding_requests", 0)
	line("packets_received", s.received)
	line("packets_sent", s.sent)
	line("znode_count", len(s.tree.nodes))
	line("watch_count", s.watches.count())
	line("ephemerals_count", s.ephemeralCount())
	line("approximate_data_size", s.dataSize())
	line("global_sessions", len(s.sessions))
	return b.String()
}

func (s *Server) conf() string {
	_, port, _ := strings.Cut(s.listener.Addr().String(), ":")
	tick := s.options.Tick.Milliseconds()
	return fmt.Sprintf("clientPort=%s\ntickTime=%d\nminSessionTimeout=%d\nmaxSessionTimeout=%d\nserverId=0\n",
		port, tick, 2*tick, 20*tick)
}

func (s *Server) ephemeralCount() int {
	n := 0
	for _, owned := range s.tree.ephemerals {
		n += len(owned)
	}
	return n
}

func (s *Server) dataSize() int {
	n := 0
	for path, node := range s.tree.nodes {
		n += len(path) + len(node.data)
	}
	return n
}

func btoi(v bool) int {
	if v {
		return 1
	}
	return 0
}
