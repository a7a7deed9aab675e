package connect

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const exampleConfig = `# hosts
Include more/*.conf
Host web* !web9
    HostName 10.1.1.1
    Port 2200
Host web1 "web2"
    User deploy
Host meta?.example
    ProxyJump user@bastion:2222,other
    IdentityFile ~/.ssh/meta
    IdentitiesOnly yes
Host *
    User=everybody
    ServerAliveInterval 7
    UserKnownHostsFile ~/.ssh/site ~/.ssh/known_hosts
`

// writeConfig makes an ssh configuration with one included file.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	included := filepath.Join(dir, "more.conf")
	write(t, included, []byte("Host db*\n  Port 99\n"), 0o600)
	file := filepath.Join(dir, "config")
	write(t, file, []byte(strings.ReplaceAll(text, "more/*.conf", included)), 0o600)
	return file
}

func TestConfig(t *testing.T) {
	file := writeConfig(t, exampleConfig)
	type want struct {
		hostName, user string
		port           int
		jump           string
	}
	cases := map[string]want{
		"web1":          {"10.1.1.1", "deploy", 2200, ""},
		"web2":          {"10.1.1.1", "deploy", 2200, ""},
		"web3":          {"10.1.1.1", "everybody", 2200, ""},
		"web9":          {"", "everybody", 22, ""},
		"db1":           {"", "everybody", 99, ""},
		"meta1.example": {"", "everybody", 22, "user@bastion:2222,other"},
	}
	c := newConfigs()
	for range 2 {
		for name, w := range cases {
			s, err := c.lookup(t.Context(), file, name)
			if err != nil {
				t.Fatal(err)
			}
			if s.KeepAlive != 7*time.Second {
				t.Errorf("%s: keepalive %s", name, s.KeepAlive)
			}
			r, err := resolve(Address{Name: name}, s, func(string) string { return "" })
			if err != nil {
				t.Fatal(err)
			}
			got := want{r.host, r.user, r.port, strings.Join(r.jumps, ",")}
			if w.hostName == "" {
				w.hostName = name
			}
			if got != w {
				t.Errorf("%s: %+v, want %+v", name, got, w)
			}
			if !strings.HasSuffix(r.knownHosts[0], "/.ssh/site") || strings.Contains(r.knownHosts[0], "~") {
				t.Errorf("%s: known hosts %q", name, r.knownHosts)
			}
		}
	}
	// What the Address says goes before the configuration.
	s, err := c.lookup(t.Context(), file, "web1")
	if err != nil {
		t.Fatal(err)
	}
	r, err := resolve(Address{Name: "web1", User: "me", Port: 1, JumpHosts: []string{"j"}, KeyFiles: []string{"k"}, KnownHosts: []string{"kh"}}, s, os.Getenv)
	if err != nil || r.user != "me" || r.port != 1 || r.jumps[0] != "j" || r.keyFiles[0] != "k" || r.knownHosts[0] != "kh" {
		t.Errorf("%+v, %v", r, err)
	}
}

// A thousand hosts under the same Host lines cost one ssh process, and a file without a word for us none.
func TestConfigForks(t *testing.T) {
	program, err := exec.LookPath("ssh")
	if err != nil {
		t.Skip("there is no ssh on this machine; install openssh-client")
	}
	bin := t.TempDir()
	log := filepath.Join(bin, "log")
	write(t, filepath.Join(bin, "ssh"), []byte("#!/bin/sh\necho x >>"+log+"\nexec "+program+" \"$@\"\n"), 0o755)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	forks := func() int {
		content, _ := os.ReadFile(log)
		return strings.Count(string(content), "x")
	}
	file := writeConfig(t, exampleConfig)
	c := newConfigs()
	for i := range 1000 {
		if _, err := c.lookup(t.Context(), file, fmt.Sprintf("host%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := forks(); n != 1 {
		t.Errorf("%d ssh processes for a thousand hosts with the same settings", n)
	}
	plain := writeConfig(t, "Host *\n  SendEnv LANG\n  Compression yes\n")
	if s, err := c.lookup(t.Context(), plain, "host1"); err != nil || !reflect.DeepEqual(s, settings{}) {
		t.Errorf("%+v, %v", s, err)
	}
	if n := forks(); n != 1 {
		t.Error("an ssh process was started for a file without a setting that concerns us")
	}
}

// Without an ssh program the files are read here.
func TestConfigWithoutSSH(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	s, err := newConfigs().lookup(t.Context(), writeConfig(t, exampleConfig), "web1")
	if err != nil || s.HostName != "10.1.1.1" || s.User != "deploy" || s.Port != 2200 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestConfigMistake(t *testing.T) {
	if _, err := newConfigs().lookup(t.Context(), writeConfig(t, "Host a\n  Port abc\n"), "a"); err == nil {
		t.Error("a port that is no number is taken")
	}
	if _, err := newConfigs().lookup(t.Context(), filepath.Join(t.TempDir(), "none"), "a"); err == nil {
		t.Error("a file that is named and not there is taken")
	}
}

func TestParseJump(t *testing.T) {
	for text, want := range map[string]Address{
		"bastion":               {Name: "bastion"},
		"me@bastion:2222":       {Name: "bastion", User: "me", Port: 2222},
		"ssh://me@[fe80::1]:22": {Name: "fe80::1", User: "me", Port: 22},
	} {
		if got, err := parseJump(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "a:b", "a b", "me@"} {
		if got, err := parseJump(text); err == nil {
			t.Errorf("%q is taken: %+v", text, got)
		}
	}
}

func FuzzDump(f *testing.F) {
	f.Add([]byte("hostname a\nport 22\nidentityfile ~/.ssh/id\nproxyjump none\n"))
	f.Fuzz(func(t *testing.T, dump []byte) {
		s := parseDump(dump)
		if s.Port < 0 || s.Port > 65535 {
			t.Errorf("port %d", s.Port)
		}
		if _, err := resolve(Address{Name: "a"}, s, func(string) string { return "" }); err != nil && s.ProxyCommand == "" {
			t.Error(err)
		}
	})
}
