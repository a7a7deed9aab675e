package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestEveryRuleHasACase keeps docs/ansible-rules.md true: it has a row for every rule of the specification, which
// names exactly the cases that name the rule, or says how else it is checked.
func TestEveryRuleHasACase(t *testing.T) {
	t.Parallel()
	cases := casesByRule(t)
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "ansible-rules.md"))
	require.NoError(t, err)
	rows := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([A-Z]+-\d+) \|(.*)\|(.*)\|$`).FindAllStringSubmatch(string(text), -1) {
		rule, named, otherwise := m[1], strings.Fields(m[2]), strings.TrimSpace(m[3])
		rows[rule] = true
		assert.ElementsMatch(t, cases[rule], named, "the cases of %s", rule)
		assert.False(t, len(named) == 0 && otherwise == "", "nothing checks %s", rule)
	}
	spec, err := os.ReadFile(filepath.Join("..", "..", "docs", "ansible-semantics.md"))
	require.NoError(t, err)
	for _, m := range regexp.MustCompile(`\*\*([A-Z]+-\d+)\b`).FindAllStringSubmatch(string(spec), -1) {
		assert.True(t, rows[m[1]], "%s has no row", m[1])
		delete(cases, m[1])
	}
	assert.Empty(t, cases, "cases name rules that are not there")
}

// casesByRule gives the numbers of the cases that name a rule.
func casesByRule(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "conformance", "*", "*", "case.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	cases := map[string][]string{}
	for _, file := range files {
		dir := filepath.Dir(file)
		number, _, _ := strings.Cut(filepath.Base(dir), "-")
		for _, rule := range regexp.MustCompile(`[A-Z]+-\d+`).FindAllString(readCase(t, dir).Rule, -1) {
			if !slices.Contains(cases[rule], number) {
				cases[rule] = append(cases[rule], number)
			}
		}
	}
	return cases
}
