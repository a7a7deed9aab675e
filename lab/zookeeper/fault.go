package zookeeper

import (
	"fmt"
	"strings"
	"time"
)

// Fault is how a server misbehaves. The zero value is not at all.
type Fault struct {
	// Down breaks every connection and takes no new one, as an ensemble that has lost its quorum, or elects. No
	// session ends meanwhile, and each begins its time anew when the fault is gone.
	Down bool
	// Expire ends, once, the sessions that own ephemeral nodes at or below this path.
	Expire string
}

// SetFault makes the server misbehave, or behave again.
func (s *Server) SetFault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down && !f.Down {
		for _, session := range s.sessions {
			session.touch()
		}
	}
	s.down = f.Down
	if f.Expire != "" {
		s.expireBelow(f.Expire)
	}
	if s.down {
		for c := range s.conns {
			c.close()
		}
	}
}

// expireBelow ends the sessions that own nodes at or below a path.
func (s *Server) expireBelow(path string) {
	owners := map[int64]bool{}
	for at, n := range s.tree.nodes {
		if at == path || strings.HasPrefix(at, strings.TrimSuffix(path, "/")+"/") {
			owners[n.stat.EphemeralOwner] = true
		}
	}
	for id, session := range s.sessions {
		if !owners[id] {
			continue
		}
		s.log.Info("ZooKeeper session is made to expire", "session", fmt.Sprintf("%#x", id))
		if session.conn != nil {
			session.conn.close()
		}
		s.end(session)
	}
}

// expire ends the sessions that have been silent for too long.
func (s *Server) expire(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return
	}
	for _, session := range s.sessions {
		if now.After(session.deadline) {
			s.log.Info("ZooKeeper session expired", "session", fmt.Sprintf("%#x", session.id))
			if session.conn != nil {
				session.conn.close()
			}
			s.end(session)
		}
	}
}
