package render

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/diag"
)

func shown(t *testing.T, content string, line, column int, hint string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.yml")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	var out bytes.Buffer
	Diagnostic(&out, diag.Diagnostic{Position: diag.Position{File: path, Line: line, Column: column}, Problem: "wrong", Hint: hint}, NewSource(nil), false)
	head, rest, _ := strings.Cut(out.String(), "\n")
	require.Equal(t, diag.Position{File: path, Line: line, Column: column}.String()+": error: wrong", head)
	return strings.TrimSuffix(rest, "\n")
}

func TestDiagnosticShowsItsLine(t *testing.T) {
	long := strings.Repeat("a b ", 100)
	tests := []struct {
		name, content string
		line, column  int
		hint, want    string
	}{
		{"the word is marked", "- hosts: all\n  tasks: {pth: /srv}", 2, 11, `did you mean "path"?`,
			"   2 |   tasks: {pth: /srv}\n     |           ^~~ did you mean \"path\"?"},
		{"a quoted text is marked with its quotes", `a: "b c"`, 1, 4, "", "   1 | a: \"b c\"\n     |    ^~~~~"},
		{"a bracket is marked alone", "a: {b: 1}", 1, 4, "", "   1 | a: {b: 1}\n     |    ^"},
		{"behind the end of the line", "a:", 1, 3, "", "   1 | a:\n     |   ^"},
		{"far behind the end of the line there is no mark", "a:", 1, 30, "", "   1 | a:"},
		{"without a column", "a: 1", 1, 0, "do so", "   1 | a: 1\n       hint: do so"},
		{"tabs are four columns wide", "\ta:\tbad", 1, 5, "", "   1 |     a:  bad\n     |         ^~~"},
		{"wide letters take two", "名前: 東京 bad", 1, 5, "", "   1 | 名前: 東京 bad\n     |       ^~~~"},
		{"combining ones none", "e\u0301e\u0301: bad", 1, 7, "", "   1 | e\u0301e\u0301: bad\n     |     ^~~"},
		{"control characters are written out", "a: \x1b[31m bad", 1, 10, "", "   1 | a: \\x1b[31m bad\n     |             ^~~"},
		{"what turns the direction of text too", "a: \u202ebad", 1, 5, "", "   1 | a: \\u202ebad\n     |          ^~~"},
		{"a CRLF file", "a: bad\r\nb: 1\r\n", 1, 4, "", "   1 | a: bad\n     |    ^~~"},
		{"a byte order mark is no column", "\ufeffa: bad\n", 1, 4, "", "   1 | a: bad\n     |    ^~~"},
		{"a long line is cut around the place", long + "bad " + long, 1, 401, "",
			"   1 | …b " + strings.Repeat("a b ", 12) + "bad " + strings.Repeat("a b ", 11) + "a…\n     | " + strings.Repeat(" ", 51) + "^~~"},
		{"a long hint stands below", "a: bad", 1, 4, strings.Repeat("word ", 30), "   1 | a: bad\n     |    ^~~\n       hint: " + strings.Repeat("word ", 30)},
		{"a hint of several lines too", "a: bad", 1, 4, "one\ntwo", "   1 | a: bad\n     |    ^~~\n       hint: one\n             two"},
		{"a line that is not there", "a: bad", 9, 4, "do so", "    hint: do so"},
		{"an empty line", "\n\n", 1, 1, "do so", "    hint: do so"},
		{"a file that is no UTF-8", "a: \xff\xfe\nb: bad", 2, 4, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, shown(t, tt.content, tt.line, tt.column, tt.hint))
		})
	}
}

func TestDiagnosticShowsNoSecret(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		line    int
		hidden  bool
	}{
		"a vaulted file":             {"$ANSIBLE_VAULT;1.1;AES256\n6162\n", 2, true},
		"a vaulted value":            {"a: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\nb: 1\n", 1, true},
		"its header":                 {"a: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\nb: 1\n", 2, true},
		"its content":                {"a: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\nb: 1\n", 3, true},
		"what comes behind it":       {"a: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\nb: 1\n", 4, false},
		"a password":                 {"db_password: hunter2\n", 1, true},
		"in an inventory file":       {"h1 ansible_become_pass=hunter2\n", 1, true},
		"in a flow mapping":          {"{user: a, \"api-key\": b}\n", 1, true},
		"as a block":                 {"private_key: |\n  abc\n", 2, true},
		"deep below":                 {"secrets:\n  a:\n    b: c\n", 3, true},
		"in a list":                  {"passwords:\n- one\n- two\n", 3, true},
		"behind the list":            {"passwords:\n- one\nother: x\n", 3, false},
		"a password from a template": {"db_password: \"{{ .vault_db_password }}\"\n", 1, false},
		"a template and more":        {"db_password: \"{{ .vault_db_password }}x\"\n", 1, true},
		"a switch":                   {"ask_password: no\n", 1, false},
		"prose":                      {"- name: change the password\n", 1, false},
		"a task below such prose":    {"- name: change the password\n  debug: {msg: a}\n", 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.hidden, shown(t, c.content, c.line, 1, "") == "")
		})
	}
}

func TestDiagnosticShowsNoLineOfWhatIsNoFile(t *testing.T) {
	for _, file := range []string{filepath.Join(t.TempDir(), "gone.yml"), t.TempDir(), "/dev/zero", "-e", ""} {
		text, end := NewSource(nil).Line(diag.Position{File: file, Line: 1, Column: 1})
		require.Empty(t, text, file)
		require.Zero(t, end, file)
	}
}

func TestDiagnosticsAreSortedAndCounted(t *testing.T) {
	at := func(line int) diag.Position { return diag.Position{File: "gone.yml", Line: line, Column: 1} }
	var list diag.List
	list.Add(at(3), "", "third")
	list.Warn(at(2), "", "second")
	list.Add(at(1), "", "first")
	var out bytes.Buffer
	Diagnostics(&out, list, Options{})
	require.Equal(t, "gone.yml:1:1: error: first\ngone.yml:2:1: warning: second\ngone.yml:3:1: error: third\n2 errors, 1 warning\n", out.String())
	out.Reset()
	Diagnostics(&out, list[:1], Options{})
	require.Equal(t, "gone.yml:3:1: error: third\n", out.String(), "one needs no count")
	Diagnostics(&out, list[:1], Options{Color: true})
	require.Contains(t, out.String(), "\x1b[31merror\x1b[0m")
}

func FuzzExcerptStandsBelowItsPlace(f *testing.F) {
	f.Add("a: \tbad 名", 4)
	f.Add(strings.Repeat("é", 300), 200)
	f.Fuzz(func(t *testing.T, line string, column int) {
		if strings.ContainsAny(line, "\n") || column < 1 || confidential([]string{line}, 0) {
			t.Skip()
		}
		s := NewSource(nil)
		s.files["f"] = []string{line}
		got, ok := s.line(diag.Position{File: "f", Line: 1, Column: column})
		if !ok || got.wide == 0 {
			return
		}
		cells := cellsOf(got.text)
		if n := sum(cells); n > 2*maxShown && got.left > n {
			t.Fatalf("%d columns, and a mark at %d", n, got.left)
		}
		if strings.ContainsFunc(got.text, isControl) {
			t.Fatalf("%q holds a control character", got.text)
		}
	})
}
