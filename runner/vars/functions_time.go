package vars

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// timeTable is functions over moments. A moment is text such as 2026-03-01T12:00:00Z, or a number of seconds since
// 1970. What is not said to be in another zone is in UTC, so that a template gives the same everywhere.
func timeTable() []tableRow {
	return []tableRow{
		{"now", "The moment, in UTC. Another one at each use.", unsteady(func() string { return time.Now().UTC().Format(time.RFC3339Nano) }), nil},
		{"ago MOMENT", "How long ago a moment was, such as 2h10m5s. Another one at each use.", unsteady(func(v any) (string, error) {
			t, err := moment(v)
			return time.Since(t).Round(time.Second).String(), err
		}), nil},
		{"date LAYOUT MOMENT", "A moment after a layout such as \"2006-01-02 15:04\", in its own zone.", func(layout string, v any) (string, error) {
			t, err := moment(v)
			return t.Format(layout), err
		}, nil},
		{"dateInZone LAYOUT MOMENT ZONE", "A moment after a layout, in a zone such as \"Europe/Berlin\".", dateInZone, []string{"date_in_zone"}},
		{"dateModify DURATION MOMENT", "The moment a duration such as \"-1h30m\" later.", func(by string, v any) (string, error) { return dateModify(by, v) },
			[]string{"date_modify", "mustDateModify", "must_date_modify"}},
		{"htmlDate MOMENT", "The date of a moment, such as 2026-03-01.", func(v any) (string, error) { t, err := moment(v); return t.Format(time.DateOnly), err }, nil},
		{"htmlDateInZone MOMENT ZONE", "The date of a moment in a zone.", func(v any, zone string) (string, error) { return dateInZone(time.DateOnly, v, zone) }, nil},
		{"toDate LAYOUT TEXT", "The moment that a text says after a layout; in UTC when it names no zone.", toDate, []string{"mustToDate"}},
		{"unixEpoch MOMENT", "The seconds from 1970 to a moment.", func(v any) (int64, error) { t, err := moment(v); return t.Unix(), err }, nil},
	}
}

// unsteady marks a function that gives something else each time.
func unsteady(fn any) *function {
	f := newFunction("unsteady", fn)
	f.unsteady = true
	return f
}

// moment reads what now and toDate give, a date, or seconds since 1970.
func moment(v any) (time.Time, error) {
	switch v := v.(type) {
	case int64:
		return time.Unix(v, 0).UTC(), nil
	case float64:
		return time.UnixMicro(int64(v * 1e6)).UTC(), nil
	case string:
		for _, layout := range []string{time.RFC3339Nano, time.DateTime, time.DateOnly, "2006-01-02 15:04:05.999999999"} {
			if t, err := time.Parse(layout, strings.TrimSpace(v)); err == nil {
				return t, nil
			}
		}
		if n, err := wholeNumber(v); err == nil {
			return time.Unix(n, 0).UTC(), nil
		}
	case *unknown:
		return time.Time{}, ErrUnknown
	}
	return time.Time{}, fmt.Errorf("%s is no moment such as 2026-03-01T12:00:00Z", describe(v))
}

func dateInZone(layout string, v any, zone string) (string, error) {
	t, err := moment(v)
	if err != nil {
		return "", err
	}
	in, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" {
		return "", fmt.Errorf("there is no zone %q; write one such as \"Europe/Berlin\" or \"UTC\"", zone)
	}
	return t.In(in).Format(layout), nil
}

func dateModify(by string, v any) (string, error) {
	t, err := moment(v)
	if err != nil {
		return "", err
	}
	d, err := time.ParseDuration(by)
	if err != nil {
		return "", fmt.Errorf("%q is no duration such as -1h30m", by)
	}
	return t.Add(d).Format(time.RFC3339Nano), nil
}

func toDate(layout, text string) (string, error) {
	t, err := time.Parse(layout, text)
	var wrong *time.ParseError
	if errors.As(err, &wrong) {
		return "", fmt.Errorf("%q does not fit the layout %q", shorten(text), shorten(layout))
	}
	return t.Format(time.RFC3339Nano), err
}
