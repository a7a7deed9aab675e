package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/vault"
)

// What stands in the vault: quotes and signs that every way of writing a text treats differently, and lines.
const (
	hushPassword = `hunter2&"it's <so> s3cret/+`
	hushInline   = "inline-s3cret-value"
	hushKey      = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEAsecretline1\nq83vEjRWeJCrze8SNFZ4secretl2\n-----END KEY-----\n"
	hushPin      = "8675309"
	hushFile     = "[db]\npass = filehunter2secret\n"
)

const secretPlaybook = `
- hosts: all
  gather_facts: false
  environment: {DB_PASSWORD: "{{ .password }}"}
  vars:
    url: "https://user:{{ .password | urlquery }}@db/{{ .inline }}"
  tasks:
    - {name: debug, debug: {msg: ["{{ .password }}", "{{ .url }}", "{{ .pin }}", {k: "{{ .key }}"}]}}
    - {name: debug var, debug: {var: key}}
    - {name: "named {{ .inline }}", debug: {var: password}}
    - name: command
      command: {argv: [printf, "%s\n", "{{ .password }}", "{{ .inline }}"]}
      register: out
      changed_when: false
    - {name: registered, debug: {var: out}}
    - {name: standard error, shell: "echo {{ .inline }} >&2; echo {{ .inline }} | base64; printf 'user:%s' {{ .inline }} | base64; exit 3", ignore_errors: true}
    - {name: environment, shell: "env | grep DB_PASSWORD; printf '%s' \"$DB_PASSWORD\" | od -An -tx1 | tr -d ' \n'", changed_when: false}
    - {name: lines of a key, shell: "cat <<'X'\n{{ .key }}X\n", changed_when: false}
    - {name: file, copy: {content: "a: {{ .password }}\nb: {{ .inline }}\nc: {{ .key | indent 4 }}\n", dest: "{{ .dir }}/made", mode: "0600"}}
    - {name: template, template: {src: secret.tmpl, dest: "{{ .dir }}/rendered", mode: "0600"}}
    - {name: encrypted source, copy: {src: sealed.ini, dest: "{{ .dir }}/sealed.ini", mode: "0600"}}
    - {name: show it, command: "cat {{ .dir }}/sealed.ini", changed_when: false, check_mode: false, ignore_errors: true}
    - {name: left encrypted, copy: {src: sealed.ini, dest: "{{ .dir }}/still", decrypt: false}}
    - {name: set, set_fact: {copied: "x{{ .inline }}x", doubled: "{{ list .password .pin }}"}}
    - {name: copied, debug: {msg: "{{ .copied }} {{ .doubled }} {{ .doubled | toJson }} {{ .inline | b64enc }} {{ printf \"user:%s\" .inline | b64enc }}"}}
    - name: loop
      debug: {msg: "{{ .item }}"}
      loop: ["{{ .password }}", {name: "{{ .inline }}"}, "{{ .pin }}"]
      loop_control: {label: "label {{ .item }}"}
    - {name: until, shell: "echo {{ .inline }}", register: tried, until: 'eq .tried.stdout "no"', retries: 1, delay: 0, ignore_errors: true, check_mode: false, changed_when: false}
    - {name: skipped, debug: {msg: x}, when: 'eq .inline "other"'}
    - {name: condition, debug: {msg: x}, when: .inline, ignore_errors: true}
    - {name: assert, assert: {that: ['eq .inline "x"'], fail_msg: "was {{ .inline }}"}, ignore_errors: true}
    - {name: fail, fail: {msg: "no {{ .password }} and {{ .key }}"}, ignore_errors: true}
    - {name: undefined field, debug: {msg: "{{ .inline.field }}"}, ignore_errors: true}
    - {name: wrong number, debug: {msg: "{{ add 1 .password }}"}, ignore_errors: true}
    - {name: wrong format, debug: {msg: "{{ printf \"%d\" .inline }}"}, ignore_errors: true}
    - {name: wrong argument, file: {path: "{{ .dir }}/x", state: "{{ .inline }}"}, ignore_errors: true}
    - {name: no such file, copy: {src: "{{ .inline }}", dest: /tmp/x}, ignore_errors: true}
    - {name: no such program, command: "{{ .inline }}", ignore_errors: true}
    - {name: hidden, command: "echo {{ .inline }}", no_log: true, changed_when: false}
    - {name: facts, set_fact: {wide: "{{ .sealed_map }}"}}
    - {name: from a mapping, debug: {var: wide}}
    - block:
        - {name: rescued, command: "sh -c 'echo {{ .pin }}; false'"}
      rescue:
        - {name: what failed, debug: {var: ansible_failed_result}}
    - {name: delegated, command: "echo {{ .inline }}", delegate_to: localhost, connection: local, changed_when: false}
    - {name: included, include_tasks: more.yml}
    - {name: notified, command: "echo", notify: tell}
    - meta: flush_handlers
    - {name: the end, fail: {msg: "the end of {{ .inline }}"}}
  handlers:
    - {name: tell, debug: {msg: "handler {{ .inline }}"}}
`

// secretSite writes a site with encrypted variables; it gives its folder.
func secretSite(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	key := vault.Key{Password: []byte("vault-password-itself")}
	seal := func(text string) string {
		sealed, err := vault.Seal([]byte(text), key)
		require.NoError(t, err)
		return string(sealed)
	}
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	indented := func(text string) string {
		return "!vault |\n    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ") + "\n"
	}
	write("group_vars/all/vault.yml", seal("password: "+quoteYAML(hushPassword)+"\npin: "+hushPin+"\nkey: "+quoteYAML(hushKey)+"\n"))
	write("group_vars/all/main.yml", "inline: "+indented(seal(hushInline))+"sealed_map:\n  a: "+indented(seal(hushInline))+"  b: [plain]\n")
	write("templates/secret.tmpl", "p={{ .password }}\ni={{ .inline }}\n{{ .key }}\n")
	write("files/sealed.ini", seal(hushFile))
	write("more.yml", "- {name: inner, debug: {msg: 'inner {{ .inline }}'}}\n")
	write("site.yml", secretPlaybook)
	write("hosts.yml", "all:\n  vars: {ansible_connection: local, dir: "+filepath.Join(dir, "made")+"}\n  hosts: {h1: }\n")
	write("pw", "vault-password-itself\n")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "made"), 0o700))
	return dir
}

func quoteYAML(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(text) + `"`
}

// forms are what must not be seen of the secrets.
func hushed() []string {
	out := []string{"vault-password-itself", "filehunter2secret", "secretline1", "secretl2", hushPin, "8675309"}
	for _, text := range []string{hushPassword, hushInline} {
		out = append(out, text, url.QueryEscape(text), url.PathEscape(text), base64.StdEncoding.EncodeToString([]byte(text)))
	}
	// pieces that stand in every form of the password, and what base 64 makes of the inner part
	return append(out, "hunter2", "s3cret", base64.RawStdEncoding.EncodeToString([]byte("user:" + hushInline))[8:30])
}

// Nothing that pegbook prints shows a secret, whatever the playbook does with it and however much is asked for.
func TestNothingShowsASecret(t *testing.T) {
	dir := secretSite(t)
	t.Chdir(dir)
	vaulted := []string{"-i", "hosts.yml", "--vault-password-file", "pw"}
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string // in the output, so that the test sees the right one
	}{
		{"check", []string{"run", "site.yml", "--check", "--diff", "-vvv"}, 2, "the end of ********"},
		{"plain", []string{"run", "site.yml"}, 2, "the end of ********"},
		{"verbose", []string{"run", "site.yml", "-vvv", "--diff"}, 2, "handler ********"},
		{"check again", []string{"run", "site.yml", "--check", "--diff", "--json"}, 2, "the end of ********"},
		{"json", []string{"run", "site.yml", "--json", "-vvv", "--diff"}, 2, "the end of ********"},
		{"graph", []string{"graph", "site.yml"}, 0, "play all"},
		{"validate", []string{"validate", "site.yml"}, 0, ""},
		{"inventory", []string{"inventory", "host", "h1"}, 0, "inline"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			code := run(context.Background(), append(tt.args, vaulted...), streams{in: strings.NewReader(""), out: &out, err: &out}, nil)
			assert.Equal(t, tt.code, code, "%s", out.String())
			assert.Contains(t, out.String(), tt.want)
			for _, text := range hushed() {
				for line := range strings.Lines(out.String()) {
					assert.NotContains(t, line, text)
				}
			}
		})
	}
	made, err := os.ReadFile(filepath.Join(dir, "made", "made"))
	require.NoError(t, err)
	assert.Contains(t, string(made), hushPassword, "what is carried out is never masked")
	sealed, err := os.ReadFile(filepath.Join(dir, "made", "sealed.ini"))
	require.NoError(t, err)
	assert.Equal(t, hushFile, string(sealed))
	still, err := os.ReadFile(filepath.Join(dir, "made", "still"))
	require.NoError(t, err)
	assert.True(t, vault.Sealed(still))
}

const journalPlaybook = `
- hosts: all
  gather_facts: false
  vars_prompt:
    - {name: answer, prompt: what, private: true}
  tasks:
    - {name: "shown {{ .answer }}", debug: {msg: "{{ .answer }} {{ .password }} {{ .ansible_become_password }}"}}
    - {name: hidden, command: "echo nolog-own-value {{ .extra_word }} {{ .mapped }}", no_log: true, register: out, changed_when: false}
    - {name: kept, set_fact: {copy: "{{ .out.stdout }} {{ .inline }}"}, no_log: true}
    - {name: looped, command: "echo nolog-own-value {{ .item }}", no_log: true, loop: ["{{ .inline }}", "{{ .extra_word }}"], register: all, changed_when: false}
    - {name: rendered, template: {src: secret.tmpl, dest: "{{ .dir }}/rendered", mode: "0600"}}
    - {name: fails, command: "sh -c 'echo nolog-own-value; exit 1'", no_log: true}
`

// What is kept of runs holds no secret: not of the vault, of -e, of prompts or passwords, and nothing that no_log hides.
func TestNoSecretLiesInTheJournal(t *testing.T) {
	dir := secretSite(t)
	t.Chdir(dir)
	home := filepath.Join(t.TempDir(), "home")
	t.Setenv("PEGBOOK_HOME", home)
	t.Setenv("PEGBOOK_EXAMPLE", "environment-hush-value")
	require.NoError(t, os.WriteFile("journal.yml", []byte(journalPlaybook), 0o600))
	require.NoError(t, os.WriteFile("become.yml", []byte("all: {vars: {ansible_become_password: become-hush-value}}\n"), 0o600))
	extra := []string{"-e", "extra_word=extra-hush-value", "-e", `{"mapped": "mapped-hush-value"}`, "-e", "answer=private-hush-value"}
	for _, more := range [][]string{{"site.yml"}, {"site.yml", "--check", "--diff"}, {"journal.yml", "--diff"}, {"journal.yml", "--check"}} {
		args := slices.Concat([]string{"run", "-i", "hosts.yml", "-i", "become.yml", "--vault-password-file", "pw", "-vvv"}, extra, more)
		var out bytes.Buffer
		code := run(context.Background(), args, streams{in: strings.NewReader(""), out: &out, err: &out}, nil)
		require.Contains(t, []int{0, 2}, code, "%s", out.String())
	}
	files := 0
	require.NoError(t, filepath.WalkDir(home, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		raw, err := os.ReadFile(path)
		for _, text := range append(hushed(), "extra-hush", "mapped-hush", "private-hush", "become-hush", "environment-hush", "nolog-own-value") {
			if at := bytes.Index(raw, []byte(text)); at >= 0 {
				t.Errorf("%s holds %q: …%s…", path, text, raw[max(0, at-80):min(len(raw), at+80)])
			}
		}
		return err
	}))
	assert.Greater(t, files, 12)
}
