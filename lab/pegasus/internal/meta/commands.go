package meta

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/lab/pegasus/internal/config"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
	"github.com/pegbook/pegbook/lab/pegasus/internal/release"
)

// flags are what remote commands set. They live in memory only: a leader change
// brings the config file's values back.
type flags struct {
	assignDelayMS  int64
	addMax         int64
	flowControl    bool
	livePercentage int64
	minLive        int64
	blackList      map[peer.Addr]bool
	onlyMove       bool
	onlyPrimary    bool
	inTurn         bool
	ignored        []int32
}

func defaultFlags(c *config.Config) flags {
	return flags{assignDelayMS: c.AssignDelayMS, addMax: c.AddSecondaryMax, flowControl: c.FlowControl,
		livePercentage: c.LivePercentage, minLive: c.MinLiveNodes, blackList: map[peer.Addr]bool{}}
}

// Command answers one remote command in the words of release 2.5; ok is false
// when the leader has no such command.
func (s *State) Command(name string, args []string) (reply string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch name {
	case "meta.lb.assign_delay_ms":
		least := int64(1)
		if s.Release >= release.R26 {
			least = 0
		}
		return number(&s.flags.assignDelayMS, s.Config.AssignDelayMS, least, args), true
	case "meta.lb.add_secondary_max_count_for_one_node":
		return number(&s.flags.addMax, s.Config.AddSecondaryMax, 0, args), true
	case "meta.live_percentage":
		return number(&s.flags.livePercentage, s.Config.LivePercentage, 0, args), true
	case "meta.lb.add_secondary_enable_flow_control":
		return truth(&s.flags.flowControl, args), true
	case "meta.lb.only_move_primary":
		return truth(&s.flags.onlyMove, args), true
	case "meta.lb.only_primary_balancer":
		return truth(&s.flags.onlyPrimary, args), true
	case "meta.lb.balancer_in_turn":
		return truth(&s.flags.inTurn, args), true
	case "meta.lb.assign_secondary_black_list":
		return s.blackList(args), true
	case "meta.lb.ignored_app_list":
		return s.ignoredTables(args), true
	case "meta.lb.get_balance_operation_count":
		return s.operationCount(args), true
	}
	return "", false
}

// SetMinLiveNodes is the one flag that HTTP can change; it must be positive.
func (s *State) SetMinLiveNodes(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flags.minLive = n
}

// Number is the protocol of integer flags: no argument asks, DEFAULT restores.
func number(value *int64, fallback, least int64, args []string) string {
	switch {
	case len(args) == 0:
		return strconv.FormatInt(*value, 10)
	case args[0] == "DEFAULT":
		*value = fallback
		return "OK"
	}
	n, err := strconv.ParseInt(args[0], 10, 32)
	if err != nil || n < least {
		return "ERR: invalid arguments"
	}
	*value = n
	return "OK"
}

// StandbyPercentage is meta.live_percentage on a meta that does not lead, which
// has the command but no State.
func StandbyPercentage(value *int64, fallback int64, args []string) string {
	return number(value, fallback, 0, args)
}

func truth(value *bool, args []string) string {
	switch {
	case len(args) == 0:
		return strconv.FormatBool(*value)
	case args[0] == "true" || args[0] == "false":
		*value = args[0] == "true"
		return "OK"
	}
	return "ERR: invalid arguments"
}

func (s *State) blackList(args []string) string {
	if len(args) == 0 {
		var list []string
		for a := range s.flags.blackList {
			list = append(list, a.String())
		}
		slices.Sort(list)
		return "get ok: " + strings.Join(list, ",")
	}
	if args[0] == "clear" {
		clear(s.flags.blackList)
		return "clear ok"
	}
	next := map[peer.Addr]bool{}
	for _, text := range strings.Split(args[0], ",") {
		var a peer.Addr
		if err := a.UnmarshalText([]byte(text)); err != nil || !a.IsValid() {
			return "invalid arguments"
		}
		next[a] = true
	}
	s.flags.blackList = next
	return "set ok"
}

func (s *State) ignoredTables(args []string) string {
	switch {
	case len(args) == 1 && args[0] == "get":
		var ids []string
		for _, id := range s.flags.ignored {
			ids = append(ids, strconv.Itoa(int(id)))
		}
		if len(ids) == 0 {
			return "no ignored apps"
		}
		return "ignored_app_id_list: " + strings.Join(ids, ",") + "\x00" // the real server's string ends so, too
	case len(args) == 1 && args[0] == "clear":
		s.flags.ignored = nil
		return "clear ok"
	case len(args) == 2 && args[0] == "set":
		var ids []int32
		for _, text := range strings.Split(args[1], ",") {
			id, err := strconv.ParseInt(text, 10, 32)
			if err != nil {
				return "invalid arguments"
			}
			ids = append(ids, int32(id))
		}
		s.flags.ignored = ids
		return "set ok"
	}
	return "invalid arguments"
}

func (s *State) operationCount(args []string) string {
	if len(args) == 0 {
		return s.operations("total")
	}
	switch args[0] {
	case "total", "move_pri", "copy_pri", "copy_sec", "detail":
		return s.operations(args[0])
	}
	return "ERR: invalid arguments"
}

func (s *State) operations(kind string) string {
	o := s.moves
	switch kind {
	case "move_pri":
		return fmt.Sprintf("move_pri=%d", o.movePri)
	case "copy_pri":
		return fmt.Sprintf("copy_pri=%d", o.copyPri)
	case "copy_sec":
		return fmt.Sprintf("copy_sec=%d", o.copySec)
	case "detail":
		return fmt.Sprintf("move_pri=%d,copy_pri=%d,copy_sec=%d,total=%d", o.movePri, o.copyPri, o.copySec, o.total())
	}
	return fmt.Sprintf("total=%d", o.total())
}
