package pegasus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/pegbook/pegbook/modules/pegasus/client"
	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// hold keeps level and settings in force while a step works. They live in the leader's memory: they are set
// again when another meta server leads, and read back before each thing that relies on them, as the same meta
// server may have been restarted, or somebody may have set them.
type hold struct {
	s     *session
	level string // empty: left alone
	want  map[string]string
	// guarded holds let go of nothing that somebody froze: a level below steady is refused and not raised.
	guarded bool
	leader  string
	wrong   int // how often something was found that nobody of us had set
}

// keep looks who leads and says whether that has changed, in which case everything queued is lost.
func (h *hold) keep(ctx context.Context) (changed bool, err error) {
	leader, err := h.s.Leader(ctx)
	if err != nil || leader == h.leader {
		return false, err
	}
	first := h.leader == ""
	if !first {
		h.s.note("%s leads now, setting everything again", leader)
	}
	if err := h.mayReconfigure(ctx); err != nil {
		return false, err
	}
	h.leader, err = h.s.enforce(ctx, h.level, h.want, map[string]string{})
	return !first, err
}

func (h *hold) mayReconfigure(ctx context.Context) error {
	if !h.guarded {
		return nil
	}
	err := h.s.mayReconfigure(ctx)
	var frozen *frozenError
	if errors.As(err, &frozen) {
		return planError{err} // a new leader is frozen until it has heard the nodes
	}
	return err
}

// manyTimes is how often settings may be found changed under a leader that stays before a step gives up.
const manyTimes = 3

// confirm reads everything back. changed says that something was not in force any more, and was set again.
func (h *hold) confirm(ctx context.Context) (changed bool, err error) {
	if err := h.mayReconfigure(ctx); err != nil {
		return false, err
	}
	wrong, err := h.differences(ctx)
	if err != nil {
		return false, err
	}
	leader, err := h.s.Leader(ctx)
	if err != nil {
		return false, err
	}
	switch {
	case leader != h.leader:
		return h.keep(ctx)
	case len(wrong) == 0:
		return false, nil
	}
	if h.wrong++; h.wrong >= manyTimes {
		return false, fmt.Errorf("%s, for the %dth time; somebody else sets it, or the meta server is restarted again and again", strings.Join(wrong, ", "), h.wrong)
	}
	h.s.note("%s; setting it again", strings.Join(wrong, ", "))
	h.leader, err = h.s.enforce(ctx, h.level, h.want, map[string]string{})
	return true, err
}

// differences are what is not as it should be on the leader, read side by side.
func (h *hold) differences(ctx context.Context) ([]string, error) {
	commands := slices.Sorted(maps.Keys(h.want))
	wrong := make([]string, len(commands)+1)
	group, ctx := errgroup.WithContext(ctx)
	for i, command := range commands {
		group.Go(func() error {
			now, err := h.s.Setting(ctx, command)
			if err == nil && !same(now, h.want[command]) {
				wrong[i] = fmt.Sprintf("%s is %s and not %s", command, now, h.want[command])
			}
			return err
		})
	}
	if h.level != "" {
		group.Go(func() error {
			now, err := h.s.Level(ctx)
			if err == nil && now.String() != h.level {
				wrong[len(commands)] = fmt.Sprintf("the level is %s and not %s", now, h.level)
			}
			return err
		})
	}
	err := group.Wait()
	return slices.DeleteFunc(wrong, func(text string) bool { return text == "" }), err
}

// frozenError is a cluster whose meta server changes no replica.
type frozenError struct{ level string }

// Error is the level and what may be behind it.
func (e *frozenError) Error() string {
	return fmt.Sprintf("the meta server is at level %s and changes no replica; too few nodes are alive, or somebody set it", e.level)
}

// mayReconfigure refuses while the cluster is frozen: proposals are taken then, and never carried out.
func (s *session) mayReconfigure(ctx context.Context) error {
	info, err := s.ClusterInfo(ctx)
	if err != nil {
		return err
	}
	effective, ok := info.Value("meta_function_level")
	level, known := wire.ParseLevel(effective)
	switch {
	case !ok || !known:
		return fmt.Errorf("the meta server does not say its function level (it says %q)", effective)
	case level < wire.LevelSteady:
		return &frozenError{effective}
	}
	return nil
}

// refusedParameters says whether a proposal was refused because the partition has one pending.
func refusedParameters(err error) bool {
	var refused *client.ServerError
	return errors.As(err, &refused) && refused.Err == wire.InvalidParameters
}
