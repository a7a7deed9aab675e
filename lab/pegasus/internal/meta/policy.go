package meta

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// Policy is how tables are backed up again and again, as kept in ZooKeeper.
type Policy struct {
	Name      string  `json:"policy_name"`
	Provider  string  `json:"backup_provider_type"`
	Apps      []int32 `json:"app_ids"`
	Interval  int64   `json:"backup_interval_seconds"`
	Keep      int32   `json:"backup_history_count_to_keep"`
	StartTime string  `json:"start_time"`
	Disabled  bool    `json:"is_disable"`
	Backups   []PolicyBackup
}

// PolicyBackup is one backup that a policy made; EndMS is 0 while it runs.
type PolicyBackup struct {
	ID             int64
	StartMS, EndMS int64
	Apps           []int32
}

// leastInterval is five minutes, below which the real server refuses.
const leastInterval = 300

// AddPolicy makes a policy.
func (s *State) AddPolicy(ctx context.Context, p Policy) (code, hint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const bad = "ERR_INVALID_PARAMETERS"
	_, known := s.Config.BlockService(p.Provider)
	switch {
	case s.Config.NoBackups:
		return "ERR_SERVICE_NOT_ACTIVE", "cold_backup_disabled"
	case s.policies[p.Name] != nil:
		return bad, "policy " + p.Name + " already exists"
	case !known:
		return bad, "invalid backup_provider_type: " + p.Provider
	case p.Name == "" || p.Keep <= 0 || p.Interval < leastInterval:
		return bad, "invalid policy_name, backup_history_count_to_keep or backup_interval_seconds"
	case len(p.Apps) == 0:
		return bad, "no app to backup"
	}
	if hint := badStartTime(p.StartTime); hint != "" {
		return bad, hint
	}
	for _, id := range p.Apps {
		if t := s.tables[id]; t == nil || t.Status != Available {
			return bad, fmt.Sprintf("invalid app %d", id)
		}
	}
	slices.Sort(p.Apps)
	p.Apps = slices.Compact(p.Apps)
	return s.keepPolicy(ctx, p)
}

func badStartTime(text string) string {
	h, m, ok := strings.Cut(text, ":")
	hour, err1 := strconv.Atoi(h)
	minute, err2 := strconv.Atoi(m)
	if !ok || err1 != nil || err2 != nil || hour < 0 || hour > 24 || minute < 0 || minute > 59 {
		return "invalid start_time: " + text
	}
	return ""
}

// keepPolicy stores a policy; it is called and returns with mu held.
func (s *State) keepPolicy(ctx context.Context, p Policy) (code, hint string) {
	s.mu.Unlock()
	err := s.Store.SetPolicy(ctx, p)
	s.mu.Lock()
	if err != nil {
		return "ERR_ZOOKEEPER_OPERATION", ""
	}
	s.policies[p.Name] = &p
	return OK, ""
}

// PolicyChange changes a policy; what is nil stays.
type PolicyChange struct {
	Name        string
	Add, Remove []int32
	Interval    *int64
	Keep        *int32
	Disable     *bool
	StartTime   *string
}

// ModifyPolicy carries c out, all of it or nothing.
func (s *State) ModifyPolicy(ctx context.Context, c PolicyChange) (code, hint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const bad = "ERR_INVALID_PARAMETERS"
	was := s.policies[c.Name]
	if was == nil {
		return bad, "policy " + c.Name + " not exist"
	}
	p := *was
	p.Apps = slices.Clone(was.Apps)
	for _, id := range c.Add {
		if t := s.tables[id]; t == nil || t.Status != Available {
			return bad, fmt.Sprintf("invalid app %d", id)
		}
		p.Apps = append(p.Apps, id)
	}
	p.Apps = slices.DeleteFunc(p.Apps, func(id int32) bool { return slices.Contains(c.Remove, id) })
	slices.Sort(p.Apps)
	p.Apps = slices.Compact(p.Apps)
	if c.Disable != nil {
		if *c.Disable && s.backingUp(p.Name) {
			return "ERR_BUSY", "policy is under backuping"
		}
		p.Disabled = *c.Disable
	}
	if c.Interval != nil {
		if *c.Interval < leastInterval {
			return bad, "invalid backup_interval_seconds"
		}
		p.Interval = *c.Interval
	}
	if c.Keep != nil {
		if *c.Keep <= 0 {
			return bad, "invalid backup_history_count_to_keep"
		}
		p.Keep = *c.Keep
	}
	if c.StartTime != nil {
		if hint := badStartTime(*c.StartTime); hint != "" {
			return bad, hint
		}
		p.StartTime = *c.StartTime
	}
	return s.keepPolicy(ctx, p)
}

func (s *State) backingUp(policy string) bool {
	p := s.policies[policy]
	return len(p.Backups) > 0 && p.Backups[len(p.Backups)-1].EndMS == 0
}

// Policies are the named policies, or all, each with its last count backups,
// the newest first.
func (s *State) Policies(names []string, count int32) (list []Policy, code, hint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Config.NoBackups {
		return nil, "ERR_SERVICE_NOT_ACTIVE", "cold_backup_disabled"
	}
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(s.policies))
	}
	for _, name := range names {
		p := s.policies[name]
		if p == nil {
			hint = "invalid policy_name " + name
			continue
		}
		c := *p
		c.Apps, c.Backups = slices.Clone(p.Apps), slices.Clone(p.Backups)
		slices.Reverse(c.Backups)
		c.Backups = c.Backups[:min(len(c.Backups), max(0, int(count)))]
		list = append(list, c)
	}
	if len(list) == 0 && hint != "" {
		return nil, "ERR_INVALID_PARAMETERS", hint
	}
	return list, OK, hint
}

// runPolicies starts the backups that are due: at the start time first, then
// every interval. It is called with mu held.
func (s *State) runPolicies(ctx context.Context) {
	for _, p := range s.policies {
		if p.Disabled || s.backingUp(p.Name) || !s.due(p) {
			continue
		}
		b := PolicyBackup{ID: s.Now().UnixMilli(), StartMS: s.Now().UnixMilli(), Apps: slices.Clone(p.Apps)}
		p.Backups = append(p.Backups, b)
		go s.runPolicy(ctx, p.Name, p.Provider, b)
	}
}

func (s *State) due(p *Policy) bool {
	now := s.Now()
	if n := len(p.Backups); n > 0 {
		return now.Sub(time.UnixMilli(p.Backups[n-1].StartMS)) >= s.Config.Scaled(time.Duration(p.Interval)*time.Second)
	}
	h, m, _ := strings.Cut(p.StartTime, ":")
	hour, _ := strconv.Atoi(h)
	minute, _ := strconv.Atoi(m)
	return now.Hour() == hour%24 && now.Minute() == minute
}

// runPolicy backs the tables of a policy up, one after the other, and forgets
// the oldest backups.
func (s *State) runPolicy(ctx context.Context, name, provider string, b PolicyBackup) {
	for _, id := range b.Apps {
		for s.backupTable(ctx, id, s.backupDir(provider, nil, name, id, b.ID)) != nil && ctx.Err() == nil {
			sleep(ctx, s.Config.Scaled(10*time.Second)) // the real one tries for ever, too
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.policies[name]
	next := *p
	next.Backups = slices.Clone(p.Backups)
	for i := range next.Backups {
		if next.Backups[i].ID == b.ID {
			next.Backups[i].EndMS = s.Now().UnixMilli()
		}
	}
	next.Backups = next.Backups[max(0, len(next.Backups)-int(next.Keep)):]
	if ctx.Err() == nil {
		s.keepPolicy(ctx, next)
	}
}

// partitionsOf are the configurations of a table that is available.
func (s *State) partitionsOf(id int32) (Table, []peer.Config, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[id]
	if t == nil || t.Status != Available {
		return Table{}, nil, false
	}
	var out []peer.Config
	for _, p := range t.parts {
		out = append(out, p.Config.Clone())
	}
	return t.snapshot(), out, true
}
