package runner

import (
	"slices"
	"strings"

	"github.com/pegbook/pegbook/runner/vars"
)

// selector is --tags and --skip-tags.
type selector struct {
	only, skip []string
}

func newSelector(only, skip []string) selector {
	s := selector{only: splitTags(only), skip: splitTags(skip)}
	if len(s.only) == 0 {
		s.only = []string{"all"}
	}
	return s
}

func splitTags(args []string) []string {
	var tags []string
	for _, arg := range args {
		for tag := range strings.SplitSeq(arg, ",") {
			if tag = strings.TrimSpace(tag); tag != "" {
				tags = append(tags, tag)
			}
		}
	}
	return tags
}

// selects says whether a task with these tags runs.
func (s selector) selects(tags []string) bool {
	return s.wanted(tags) && !s.skipped(tags)
}

// why says by what the selector passes over tasks.
func (s selector) why() string {
	var by []string
	if !slices.Equal(s.only, []string{"all"}) {
		by = append(by, "--tags "+strings.Join(s.only, ","))
	}
	if len(s.skip) > 0 {
		by = append(by, "--skip-tags "+strings.Join(s.skip, ","))
	}
	if len(by) == 0 {
		return "has the tag never, and --tags does not name it"
	}
	return "is not selected by " + strings.Join(by, " ")
}

func (s selector) wanted(tags []string) bool {
	has := func(tag string) bool { return slices.Contains(tags, tag) }
	switch {
	case has("always") || overlap(tags, s.only):
		return true
	case slices.Contains(s.only, "all") && !has("never"):
		return true
	case slices.Contains(s.only, "tagged") && len(tags) > 0 && !has("never"):
		return true
	case slices.Contains(s.only, "untagged") && len(tags) == 0:
		return true
	}
	return false
}

func (s selector) skipped(tags []string) bool {
	always := slices.Contains(tags, "always")
	switch {
	case overlap(tags, s.skip):
		return true
	case slices.Contains(s.skip, "all"):
		return !always
	case slices.Contains(s.skip, "tagged"):
		return len(tags) > 0
	case slices.Contains(s.skip, "untagged"):
		return len(tags) == 0
	}
	return false
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(tag string) bool { return slices.Contains(b, tag) })
}

// tagsOf gives the tags around a task, each once. Templates see the scope given.
func tagsOf(k *keys, s *vars.Scope) ([]string, error) {
	var tags []string
	for _, kw := range k.outermost() {
		for _, v := range kw.Tags {
			texts, err := texts(v, s)
			if err != nil {
				return nil, err
			}
			for _, tag := range splitTags(texts) {
				if !slices.Contains(tags, tag) {
					tags = append(tags, tag)
				}
			}
		}
	}
	return tags, nil
}

// texts gives a value that is a text or a list of texts.
func texts(v vars.Value, s *vars.Scope) ([]string, error) {
	d, err := v.Resolve(s)
	if err != nil {
		return nil, err
	}
	if d.IsUnknown() {
		return nil, vars.ErrUnknown
	}
	list, ok := d.List()
	if !ok {
		if d.Kind() == "null" {
			return nil, nil
		}
		return []string{d.Text()}, nil
	}
	var all []string
	for _, item := range list {
		all = append(all, item.Text())
	}
	return all, nil
}
