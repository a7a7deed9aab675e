package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// httpGet reads a page of a server. Only pages that do no harm on any version are asked for here:
// /meta/… makes a standby of some versions crash.
func (c *Client) httpGet(ctx context.Context, addr, path string) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.opt.AnswerTimeout, errAnswerTimeout)
	defer cancel()
	transport := &http.Transport{DialContext: c.dial, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, nil, &NoAnswerError{Addr: addr, Err: cause(ctx, err)}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return 0, nil, &NoAnswerError{Addr: addr, Sent: true, Err: cause(ctx, err)}
	}
	return resp.StatusCode, body, nil
}

func (c *Client) httpJSON(ctx context.Context, addr, path string, into any) (found bool, err error) {
	status, body, err := c.httpGet(ctx, addr, path)
	if err != nil || status == http.StatusNotFound {
		return false, err
	}
	if status != http.StatusOK {
		return false, fmt.Errorf("%s answered %s with HTTP %d", addr, path, status)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return false, fmt.Errorf("%s answered %s with something that is no JSON: %w", addr, path, err)
	}
	return true, nil
}

// HTTPVersion is the version of a server of any role over HTTP; empty when it says none, as collectors do.
func (c *Client) HTTPVersion(ctx context.Context, addr string) (string, error) {
	var v struct{ Version string }
	_, err := c.httpJSON(ctx, addr, "/version", &v)
	return v.Version, err
}

// StartTime is when a server of any role started, by its own clock and in its own time zone.
func (c *Client) StartTime(ctx context.Context, addr string) (string, error) {
	var v struct{ RecentStartTime string }
	found, err := c.httpJSON(ctx, addr, "/recentStartTime", &v)
	if err == nil && (!found || v.RecentStartTime == "") {
		err = fmt.Errorf("%s does not say when it started", addr)
	}
	return v.RecentStartTime, err
}

// Held is how many replicas a replica server has in its hands.
type Held struct {
	Serving, Opening, Closing int
	// At is when the server counted, by its own clock; zero when the count is live.
	At time.Time
}

// None says whether nothing is left.
func (h Held) None() bool { return h.Serving+h.Opening+h.Closing == 0 }

// String is the three counts.
func (h Held) String() string {
	return fmt.Sprintf("%d open, %d opening, %d closing", h.Serving, h.Opening, h.Closing)
}

// NotCountedError is a replica server that does not say how many replicas it has, which is not none.
type NotCountedError struct{ Addr string }

// Error says when it will.
func (e *NotCountedError) Error() string {
	return e.Addr + " has not counted its replicas yet; its counters come ten seconds after a start"
}

// Counts asks a replica server how many replicas it holds: live over HTTP where the server has it, else
// from its snapshot, which is up to ten seconds old and says when it was taken.
func (c *Client) Counts(ctx context.Context, addr string) (Held, error) {
	held, found, err := c.liveCounters(ctx, addr)
	if err != nil || found {
		return held, err
	}
	if held, found, err = c.liveMetrics(ctx, addr); err != nil || found {
		return held, err
	}
	return c.snapshotCounters(ctx, addr)
}

const counterPrefix = "replica*eon.replica_stub*"

func (c *Client) liveCounters(ctx context.Context, addr string) (held Held, found bool, err error) {
	var missing atomic.Bool
	group, ctx := errgroup.WithContext(ctx)
	for name, to := range map[string]*int{"replica(Count)": &held.Serving, "opening.replica(Count)": &held.Opening, "closing.replica(Count)": &held.Closing} {
		group.Go(func() error {
			var counter struct{ Name, Value string }
			found, err := c.httpJSON(ctx, addr, "/perfCounter?name="+counterPrefix+name, &counter)
			if err != nil || !found || counter.Value == "" {
				missing.Store(true)
				return err
			}
			value, err := strconv.ParseFloat(counter.Value, 64)
			if err == nil {
				*to, err = count(value)
			}
			if err != nil {
				return fmt.Errorf("%s counts %s as %q", addr, name, counter.Value)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil || missing.Load() {
		return Held{}, false, err
	}
	return held, true, nil
}

// count takes a counter's value, which is a whole number of replicas or nothing that can be relied on.
func count(value float64) (int, error) {
	if n := int(value); value >= 0 && value < 1<<31 && float64(n) == value {
		return n, nil
	}
	return 0, fmt.Errorf("%v is no number of replicas", value)
}

func (c *Client) liveMetrics(ctx context.Context, addr string) (held Held, found bool, err error) {
	var page struct {
		Entities []struct {
			Metrics []struct {
				Name  string
				Value float64
			}
		}
	}
	found, err = c.httpJSON(ctx, addr, "/metrics?with_metric_fields=name,value&types=server&metrics=total_replicas,opening_replicas,closing_replicas", &page)
	if err != nil || !found {
		return held, false, err
	}
	seen := 0
	for _, entity := range page.Entities {
		for _, m := range entity.Metrics {
			to := map[string]*int{"total_replicas": &held.Serving, "opening_replicas": &held.Opening, "closing_replicas": &held.Closing}[m.Name]
			if to != nil {
				if *to, err = count(m.Value); err != nil {
					return Held{}, false, fmt.Errorf("%s: %s: %w", addr, m.Name, err)
				}
				seen++
			}
		}
	}
	return held, seen == 3, nil
}

func (c *Client) snapshotCounters(ctx context.Context, addr string) (Held, error) {
	answer, err := c.Command(ctx, addr, "perf-counters", `.*replica(Count)`)
	if err != nil {
		return Held{}, err
	}
	var page struct {
		Timestamp int64
		Counters  []struct {
			Name  string
			Value float64
		}
	}
	if err := json.Unmarshal([]byte(answer.Text), &page); err != nil {
		return Held{}, &CommandError{Addr: addr, Command: "perf-counters", Text: answer.Text}
	}
	held := Held{At: time.Unix(page.Timestamp, 0)}
	seen := 0
	for _, counter := range page.Counters {
		to := map[string]*int{counterPrefix + "replica(Count)": &held.Serving, counterPrefix + "opening.replica(Count)": &held.Opening,
			counterPrefix + "closing.replica(Count)": &held.Closing}[counter.Name]
		if to != nil {
			if *to, err = count(counter.Value); err != nil {
				return Held{}, fmt.Errorf("%s: %s: %w", addr, counter.Name, err)
			}
			seen++
		}
	}
	if page.Timestamp == 0 || seen != 3 {
		return Held{}, &NotCountedError{Addr: addr}
	}
	return held, nil
}
