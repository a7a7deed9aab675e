package pegasus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Settings that the operations depend on.
const (
	settingDelay       = "meta.lb.assign_delay_ms"
	settingMaxCount    = "meta.lb.add_secondary_max_count_for_one_node"
	settingFlowControl = "meta.lb.add_secondary_enable_flow_control"
)

// defaultValue resets a setting to what the meta server's configuration says.
const defaultValue = "DEFAULT"

func settingsModule() *modules.Module {
	return modules.Define("pegasus_settings", `Set the leading meta server's level and settings

Sets the function level and settings of the balancer together, on the meta server that leads, and reads
each one back. They live in that server's memory: after another one has taken over, run the task again.
With neither, the task only tells who leads, and at which level.

A setting is named as its remote command is, with or without "meta.lb." in front. A list of nodes
(assign_secondary_black_list) is emptied by the value clear. The value DEFAULT goes
back to the server's configuration; since nobody can ask for that value, such a task always counts as
changed. The result has level_before and before (a mapping like settings), so that a later task can put
back exactly what was there.

    - pegasus_settings:
        meta_servers: 10.0.0.1:34601,10.0.0.2:34601
        level: steady
        settings:
          assign_delay_ms: 3600000
          add_secondary_max_count_for_one_node: 0
          add_secondary_enable_flow_control: true
      register: found

    - pegasus_settings:
        meta_servers: 10.0.0.1:34601,10.0.0.2:34601
        settings: {assign_delay_ms: DEFAULT}`, proposeSettings)
}

type settingsArgs struct {
	clusterArgs
	Level    string            `arg:"level" choices:"stopped,blind,freezed,steady,lively" doc:"function level to set; left alone when not given"`
	Settings map[string]string `arg:"settings" doc:"settings to set, by name"`
}

// settingsOutput is what the leader had before, and has now.
type settingsOutput struct {
	Leader      string            `json:"leader"`
	LevelBefore string            `json:"level_before"`
	Before      map[string]string `json:"before"`
	Level       string            `json:"level"`
	Settings    map[string]string `json:"settings"`
}

// fullSetting is a setting's remote command.
func fullSetting(name string) string {
	if strings.HasPrefix(name, "meta.") {
		return name
	}
	return "meta.lb." + name
}

func proposeSettings(ctx context.Context, call *modules.Call, args settingsArgs) (*modules.Proposal, error) {
	s, err := open(call, call.Host, args.clusterArgs)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	out := &settingsOutput{Before: map[string]string{}, Settings: map[string]string{}}
	p := &modules.Proposal{Output: out, Predicts: map[string]string{}}
	if out.Leader, err = s.Leader(ctx); err != nil && !s.fresh(err) {
		return nil, err
	}
	if out.LevelBefore, err = s.level(ctx); err != nil {
		return nil, err
	}
	out.Level = out.LevelBefore
	if args.Level != "" && args.Level != out.LevelBefore {
		p.Diff = append(p.Diff, modules.Diff{Subject: "function level", Note: out.LevelBefore + " → " + args.Level})
		p.Predicts[s.prefix+"level"] = args.Level
		out.Level = args.Level
	}
	for _, name := range slices.Sorted(maps.Keys(args.Settings)) {
		command, want := fullSetting(name), args.Settings[name]
		now, err := s.setting(ctx, command)
		if errors.Is(err, modules.ErrUnpredicted) {
			now, err = "unknown", nil
		}
		if err != nil {
			return nil, err
		}
		out.Before[command], out.Settings[command] = now, now
		if same(now, want) {
			continue
		}
		p.Diff = append(p.Diff, modules.Diff{Subject: command, Note: now + " → " + want})
		p.Predicts[s.prefix+"setting/"+command] = want
		out.Settings[command] = want
	}
	out.recall(call.Begun)
	if p.Mark, err = out.mark(); err != nil {
		return nil, err
	}
	if len(p.Diff) == 0 {
		return p, nil
	}
	p.Do = func(ctx context.Context, host modules.Host) error { return applySettings(ctx, call, host, args, out) }
	return p, nil
}

// settingsMark is what was there before: who goes on with a run puts that back in the end, not what a task that was
// cut off has set.
type settingsMark struct {
	Level  string            `json:"level"`
	Before map[string]string `json:"before"`
}

func (o *settingsOutput) mark() (string, error) {
	raw, err := json.Marshal(settingsMark{o.LevelBefore, o.Before})
	return string(raw), err
}

// recall takes what was there before from the proposal that was cut off.
func (o *settingsOutput) recall(b *modules.Begun) {
	var m settingsMark
	if b == nil || json.Unmarshal([]byte(b.Mark), &m) != nil || m.Level == "" {
		return
	}
	o.LevelBefore = m.Level
	for name, value := range m.Before {
		if _, asked := o.Before[name]; asked {
			o.Before[name] = value
		}
	}
}

func applySettings(ctx context.Context, call *modules.Call, host modules.Host, args settingsArgs, out *settingsOutput) error {
	ctx, cancel := context.WithTimeoutCause(ctx, args.Timeout, errors.New("the settings were not all in force in time"))
	defer cancel()
	s, err := open(call, host, args.clusterArgs)
	if err != nil {
		return err
	}
	defer s.Close()
	want := map[string]string{}
	for name, value := range args.Settings {
		want[fullSetting(name)] = value
	}
	leader, err := s.enforce(ctx, args.Level, want, out.Settings)
	out.Leader = leader
	if args.Level != "" && err == nil {
		out.Level = args.Level
	}
	return err
}

// enforce sets what is not so on the leader and reads it back, all on one and the same leader: one that
// takes over in between has none of it, and everything starts again. got receives the values read.
func (s *session) enforce(ctx context.Context, level string, want, got map[string]string) (leader string, err error) {
	for {
		if leader, err = s.Leader(ctx); err != nil {
			return "", err
		}
		if err := s.enforceOnce(ctx, level, want, got); err != nil {
			return leader, err
		}
		after, err := s.confirmLeader(ctx)
		if err != nil || after == leader {
			return leader, err
		}
		s.note("%s leads now, setting everything again", after)
	}
}

// confirmLeader asks the cluster, not the memory, who leads.
func (s *session) confirmLeader(ctx context.Context) (string, error) {
	if _, err := s.ClusterInfo(ctx); err != nil {
		return "", err
	}
	return s.Leader(ctx)
}

func (s *session) enforceOnce(ctx context.Context, level string, want, got map[string]string) error {
	if l, ok := wire.ParseLevel(level); ok {
		now, err := s.Level(ctx)
		if err != nil {
			return err
		}
		if now != l {
			if err := s.SetLevel(ctx, l); err != nil {
				return err
			}
			if now, err = s.Level(ctx); err != nil {
				return err
			} else if now != l {
				return fmt.Errorf("the level is %s after it was set to %s; somebody else sets it too", now, l)
			}
		}
	}
	for _, command := range slices.Sorted(maps.Keys(want)) {
		value, err := s.enforceSetting(ctx, command, want[command])
		if err != nil {
			return err
		}
		got[command] = value
	}
	return nil
}

// enforceSetting sets one setting and gives its value as read back.
func (s *session) enforceSetting(ctx context.Context, command, want string) (string, error) {
	now, err := s.Setting(ctx, command)
	if err != nil || same(now, want) {
		return now, err
	}
	if err := s.SetSetting(ctx, command, spoken(want)); err != nil {
		return now, err
	}
	if now, err = s.Setting(ctx, command); err != nil {
		return now, err
	}
	if want != defaultValue && !same(now, want) {
		return now, fmt.Errorf("%s is %s after it was set to %s; somebody else sets it too", command, now, want)
	}
	return now, nil
}

// clearWord empties a setting that is a list.
const clearWord = "clear"

// spoken is how a value is said to a server, which takes no empty one.
func spoken(want string) string {
	if want == "" {
		return clearWord
	}
	return want
}

// same says whether a setting has the value wanted. Servers tell lists in any order; what the
// configuration says nobody can ask for.
func same(now, want string) bool {
	if want == clearWord {
		want = ""
	}
	items := func(text string) []string { return slices.Sorted(strings.SplitSeq(text, ",")) }
	return want != defaultValue && slices.Equal(items(now), items(want))
}

// timeoutCause is the error of a step that did not get done in time.
func timeoutCause(d time.Duration, what string) error {
	return fmt.Errorf("%s did not get done within %s", what, d)
}
