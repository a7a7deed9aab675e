package system

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
)

// unquote lets a real shell split a line into words.
func unquote(t *testing.T, line string) []string {
	t.Helper()
	out, err := exec.Command("/bin/sh", "-c", `for w in `+line+`; do printf '%s\0' "$w"; done`).Output()
	if err != nil {
		t.Fatalf("the shell does not read %q: %v", line, err)
	}
	words := strings.Split(string(out), "\x00")
	return words[:len(words)-1]
}

// accountHost is a machine whose useradd and relatives edit its files, as shadow-utils would.
func accountHost(t *testing.T) *modtest.Machine {
	t.Helper()
	m := modtest.NewMachine("host1")
	m.Write("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nold:x:1000:1000:Old:/home/old:/bin/sh\n")
	m.Write("/etc/group", "root:x:0:\nadm:x:4:old\nusers:x:100:\nold:x:1000:\nstaff:x:50:\n")
	m.Write("/etc/shadow", "root:*:1:0:99999:7:::\nold:$6$s$abc:1:0:99999:7:::\n")
	m.Write("/etc/login.defs", "# comment\nUID_MIN\t1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\nUSERGROUPS_ENAB yes\nUMASK 022\n")
	m.Write("/etc/skel/.profile", "profile\n")
	m.Mkdir("/home/old", "/srv")
	m.OnRun = func(_ context.Context, cmd modules.Command) (modules.Output, error) {
		tools := &accountTools{m: m, stdin: string(cmd.Stdin)}
		_, body, _ := strings.Cut(cmd.Argv[2], "\n")
		for line := range strings.Lines(body) {
			if code := tools.run(unquote(t, strings.TrimSpace(line))); code != 0 {
				return modules.Output{ExitCode: code, Stderr: []byte(line)}, nil
			}
		}
		return modules.Output{Stdout: []byte(tools.out)}, nil
	}
	return m
}

type accountTools struct {
	m          *modtest.Machine
	stdin, out string
}

func (a *accountTools) table(name string) *table {
	return readTable(modules.File{Path: "/etc/" + name, Kind: modules.Regular, Content: []byte(a.m.Content("/etc/" + name))})
}

func (a *accountTools) save(tables ...*table) {
	for _, t := range tables {
		var b strings.Builder
		for _, r := range t.records {
			b.WriteString(strings.Join(r, ":") + "\n")
		}
		a.m.Write(t.path, b.String())
	}
}

// flags reads short options; those in single take no value.
func flags(words []string, single string) (map[string]string, string) {
	got := map[string]string{}
	for i := 1; i < len(words)-1; i++ {
		flag := strings.TrimPrefix(words[i], "-")
		got[flag] = "yes"
		if !strings.Contains(single, flag) {
			i++
			got[flag] = words[i]
		}
	}
	return got, words[len(words)-1]
}

func (a *accountTools) run(words []string) int {
	passwd, group, shadow := a.table("passwd"), a.table("group"), a.table("shadow")
	switch words[0] {
	case "groupadd", "groupmod":
		f, name := flags(words, "or")
		r := record{name, "x", f["g"], ""}
		if old := group.find(name); old != nil {
			r[groupMembers] = old.at(groupMembers)
		}
		if r[2] == "" {
			r[2] = "1001"
		}
		group.put(r)
	case "groupdel":
		group.remove(words[len(words)-1])
	case "useradd":
		f, name := flags(words, "mMrNo")
		a.useradd(passwd, group, shadow, f, name)
	case "usermod":
		f, name := flags(words, "maLUo")
		a.usermod(passwd, group, shadow, f, name)
	case "userdel":
		name := words[len(words)-1]
		if slices.Contains(words, "-r") {
			a.m.Remove(passwd.find(name).at(passwdHome))
		}
		passwd.remove(name)
		shadow.remove(name)
		group.remove(name)
		a.members(group, name, nil, false)
	case "chpasswd":
		name, hash, _ := strings.Cut(strings.TrimSuffix(a.stdin, "\n"), ":")
		shadow.find(name)[shadowPassword] = hash
	case "chage":
		f, name := flags(words, "")
		if f["M"] != "" {
			shadow.find(name)[shadowMaximum] = f["M"]
		}
		if f["m"] != "" {
			shadow.find(name)[shadowMinimum] = f["m"]
		}
	case "getent":
		a.out += strings.Join(a.table(words[1]).find(words[2]), ":") + "\n"
		return 0
	case "/bin/sh", "rm", "chown", "chmod", "mkdir":
		return a.files(words)
	default:
		return 127
	}
	a.save(passwd, group, shadow)
	return 0
}

func (a *accountTools) useradd(passwd, group, shadow *table, f map[string]string, name string) {
	uid := f["u"]
	if uid == "" {
		uid = "1001"
	}
	gid := uid
	if g := group.find(f["g"]); g != nil {
		gid = g.at(2)
	} else if f["g"] != "" {
		gid = f["g"]
	} else if f["N"] != "" {
		gid = "100"
	} else {
		group.put(record{name, "x", gid, ""})
	}
	home, shell := f["d"], f["s"]
	if home == "" {
		home = "/home/" + name
	}
	if shell == "" {
		shell = "/bin/sh"
	}
	passwd.put(record{name, "x", uid, gid, f["c"], home, shell})
	shadow.put(record{name, "!", "1", "0", "99999", "7", "", "", ""})
	if f["e"] != "" {
		shadow.find(name)[shadowExpires] = days(f["e"])
	}
	a.members(group, name, strings.Split(f["G"], ","), false)
	if f["m"] != "" {
		a.m.Mkdir(home)
		a.m.Write(home+"/.profile", "profile\n")
	}
}

func days(date string) string {
	out, err := exec.Command("date", "-u", "-d", date, "+%s").Output()
	if err != nil {
		return ""
	}
	seconds, _ := strconv.Atoi(strings.TrimSpace(string(out)))
	return fmt.Sprint(seconds / 86400)
}

func (a *accountTools) usermod(passwd, group, shadow *table, f map[string]string, name string) {
	r, s := passwd.find(name), shadow.find(name)
	for flag, i := range map[string]int{"u": 2, "g": passwdGroup, "c": passwdComment, "d": passwdHome, "s": passwdShell} {
		if v, ok := f[flag]; ok {
			if flag == "d" && f["m"] != "" {
				a.m.Write(v+"/moved", a.m.Content(r[i]))
				a.m.Remove(r[i])
			}
			r[i] = v
		}
	}
	if g, ok := f["G"]; ok {
		a.members(group, name, strings.Split(g, ","), f["a"] != "")
	}
	if e, ok := f["e"]; ok {
		s[shadowExpires] = days(e)
		if e == "" {
			s[shadowExpires] = ""
		}
	}
	if f["L"] != "" {
		s[shadowPassword] = "!" + s[shadowPassword]
	}
	if f["U"] != "" {
		s[shadowPassword] = strings.TrimPrefix(s[shadowPassword], "!")
	}
}

func (a *accountTools) members(group *table, name string, groups []string, more bool) {
	for i, g := range group.records {
		var members []string
		for _, m := range strings.Split(g.at(groupMembers), ",") {
			if m != "" && (m != name || more) {
				members = append(members, m)
			}
		}
		if slices.Contains(groups, g[0]) && !slices.Contains(members, name) {
			members = append(members, name)
		}
		group.records[i] = record{g[0], g.at(1), g.at(2), strings.Join(members, ",")}
	}
}

// files does what the scripts do to files, as far as a test looks at them.
func (a *accountTools) files(words []string) int {
	switch {
	case slices.Contains(words, "ssh-keygen"):
		file := words[slices.Index(words, "-f")+1]
		a.m.Write(file, "private\n").Write(file+".pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBXu me\n")
	case words[0] == "/bin/sh" && strings.Contains(words[2], "cp -a"):
		a.m.Mkdir(words[5])
	}
	return 0
}
