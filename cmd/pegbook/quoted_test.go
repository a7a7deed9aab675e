package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestQuotedIsOneWordToAShell(t *testing.T) {
	for word, want := range map[string]string{
		"inventories/prod.yml": "inventories/prod.yml",
		"package=a-1.0.tgz":    "package=a-1.0.tgz",
		"":                     "''",
		"all:!h1":              "'all:!h1'",
		"restart it's":         `'restart it'\''s'`,
	} {
		assert.Equal(t, want, quoted(word))
	}
}
