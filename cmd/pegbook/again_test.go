package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAgainIsTheCommandThatGoesOn(t *testing.T) {
	tests := []struct {
		name    string
		args    []string
		startAt string
		want    string
	}{
		{"from the beginning", []string{"run", "site.yml", "-i", "prod.yml"}, "", "pegbook run site.yml -i prod.yml"},
		{"from a task", []string{"run", "site.yml", "-i", "prod.yml"}, "restart it's", `pegbook run site.yml -i prod.yml --start-at-task 'restart it'\''s'`},
		{"in place of another", []string{"run", "--start-at-task", "a b", "site.yml", "--start-at-task=c"}, "d", "pegbook run site.yml --start-at-task d"},
		{"quoted", []string{"run", "site.yml", "-l", "all:!h1", ""}, "", `pegbook run site.yml -l 'all:!h1' ''`},
		{"variables may be secret", []string{"run", "site.yml", "-e", "password=x"}, "a", "the same command with --start-at-task a"},
		{"in one word", []string{"run", "site.yml", "-vepassword=x"}, "", "the same command"},
		{"by the long name", []string{"run", "site.yml", "--extra-vars=password=x"}, "", "the same command"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, again(tt.args)(tt.startAt))
		})
	}
}
