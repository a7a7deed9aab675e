package system

import (
	"strings"
	"testing"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/modtest"
	"github.com/pegbook/pegbook/modules/overlay"
)

func TestGroups(t *testing.T) {
	cases := []struct{ name, args, command, notes, group string }{
		{"new with a number", `{"name": "app", "gid": 2001}`, "groupadd -g 2001 app\ngetent group app", "group app is made with gid 2001", "app:x:2001:"},
		{"new of the system", `{"name": "app", "gid": 201, "system": true}`, "groupadd -g 201 -r app\ngetent group app", "group app is made with gid 201", "app:x:201:"},
		{"there", `{"name": "adm"}`, "", "", "adm:x:4:old"},
		{"another number", `{"name": "staff", "gid": 55}`, "groupmod -g 55 staff\ngetent group staff", "group staff gid 50 → 55", "staff:x:55:"},
		{"a number twice", `{"name": "app", "gid": 4, "non_unique": true}`, "groupadd -g 4 -o app\ngetent group app", "group app is made with gid 4", "app:x:4:"},
		{"removed", `{"name": "staff", "state": "absent"}`, "groupdel staff", "group staff is removed", ""},
		{"not there", `{"name": "none", "state": "absent"}`, "", "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			host := accountHost(t)
			r := once(t, Group(), c.args, host, modtest.Setup{})
			equal(t, "command", commands(host), c.command)
			equal(t, "differences", strings.Join(r.DiffNotes(), "; "), c.notes)
			if c.group != "" && !strings.Contains("\n"+host.Content("/etc/group"), "\n"+c.group+"\n") {
				t.Errorf("the groups are\n%s", host.Content("/etc/group"))
			}
		})
	}
	modtest.Errors(t, Group(), []modtest.ErrorCase{
		{Name: "number taken", Args: `{"name": "app", "gid": 4}`, Host: accountHost(t), Want: "gid 4 belongs to group adm"},
		{Name: "own group", Args: `{"name": "old", "state": "absent"}`, Host: accountHost(t), Want: "own group of user old"},
		{Name: "which number", Args: `{"name": "old", "non_unique": true}`, Want: "give gid"},
	})
}

func TestUsers(t *testing.T) {
	cases := []struct{ name, args, command, notes string }{
		{"new", `{"name": "app2"}`, "useradd -m app2\ngetent passwd app2", "user app2 is made, home /home/app2, shell /bin/sh"},
		{"new with all", `{"name": "app2", "uid": 2001, "group": "staff", "groups": ["adm", "users"], "comment": "An app's", "shell": "/bin/bash", "home": "/data/app2", "system": true}`,
			"mkdir -p -- /data\nuseradd -u 2001 -g staff -G adm,users -c 'An app'\\''s' -d /data/app2 -s /bin/bash -m -r app2\ngetent passwd app2",
			"user app2 is made with uid 2001, home /data/app2, shell /bin/bash, groups adm,users"},
		{"new beside a group of its name", `{"name": "staff", "create_home": false}`, "useradd -N -M staff\ngetent passwd staff",
			"user staff is made, home /home/staff, shell /bin/sh"},
		{"there", `{"name": "old", "uid": 1000, "group": "old", "comment": "Old", "shell": "/bin/sh", "home": "/home/old", "groups": "adm"}`, "", ""},
		{"there in other groups", `{"name": "old", "groups": "staff,users"}`, "usermod -G staff,users old\ngetent passwd old", "user old groups adm → staff,users"},
		{"there in more groups", `{"name": "old", "groups": ["staff"], "append": true}`, "usermod -a -G staff old\ngetent passwd old", "user old joins staff"},
		{"there in these groups", `{"name": "old", "groups": ["adm"], "append": true}`, "", ""},
		{"there in a group by number", `{"name": "old", "groups": ["4"]}`, "", ""},
		{"there in no group", `{"name": "old", "groups": []}`, "usermod -G '' old\ngetent passwd old", "user old groups adm →"},
		{"another shell and home", `{"name": "old", "shell": "/bin/bash", "home": "/srv/old", "move_home": true}`,
			"usermod -d /srv/old -m -s /bin/bash old\ngetent passwd old", "user old home /home/old → /srv/old; user old shell /bin/sh → /bin/bash"},
		{"locked", `{"name": "old", "password_lock": true}`, "usermod -L old\ngetent passwd old", "user old password is locked"},
		{"not locked", `{"name": "old", "password_lock": false}`, "", ""},
		{"an end", `{"name": "old", "expires": 1700000000}`, "usermod -e 2023-11-14 old\ngetent passwd old", "user old expires 2023-11-14"},
		{"no end", `{"name": "old", "expires": -1}`, "", ""},
		{"days", `{"name": "old", "password_expire_max": 90, "password_expire_min": 1}`, "chage -m 1 -M 90 old\ngetent passwd old",
			"user old password stays at least 0 → 1 days; user old password lasts at most 99999 → 90 days"},
		{"a password", `{"name": "old", "password": "$6$salt$other"}`, "chpasswd -e\ngetent passwd old", "user old password differs"},
		{"a password once", `{"name": "old", "password": "$6$salt$other", "update_password": "on_create"}`, "", ""},
		{"the password", `{"name": "old", "password": "$6$s$abc"}`, "", ""},
		{"a new locked one", `{"name": "app2", "password": "$6$salt$other", "password_lock": true}`, "useradd -m app2\nchpasswd -e\ngetent passwd app2",
			"user app2 is made, home /home/app2, shell /bin/sh"},
		{"removed", `{"name": "old", "state": "absent", "remove": true, "force": true}`, "userdel -f -r old", "user old is removed with /home/old"},
		{"removed before", `{"name": "none", "state": "absent"}`, "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			host := accountHost(t)
			r := once(t, User(), c.args, host, modtest.Setup{Trips: 2, ActTrips: 3})
			equal(t, "command", commands(host), c.command)
			equal(t, "differences", strings.Join(r.DiffNotes(), "; "), c.notes)
		})
	}
}

func TestUserRegistersWhatItLeaves(t *testing.T) {
	host := accountHost(t)
	r := once(t, User(), `{"name": "app2", "groups": ["adm"], "password": "$6$salt$hash"}`, host, modtest.Setup{Trips: 2, ActTrips: 3})
	for field, want := range map[string]string{"uid": "1001", "group": "1001", "home": `"/home/app2"`, "shell": `"/bin/sh"`, "groups": `"adm"`,
		"password": `"NOT_LOGGING_PASSWORD"`, "state": `"present"`, "create_home": "true", "system": "false"} {
		equal(t, field, r.Get(field), want)
	}
	if !strings.Contains(host.Content("/etc/shadow"), "app2:$6$salt$hash:") {
		t.Errorf("the password is not there:\n%s", host.Content("/etc/shadow"))
	}
}

func TestUserErrors(t *testing.T) {
	modtest.Errors(t, User(), []modtest.ErrorCase{
		{Name: "number taken", Args: `{"name": "app2", "uid": 1000}`, Host: accountHost(t), Want: "uid 1000 belongs to user old"},
		{Name: "no such group", Args: `{"name": "app2", "group": "none"}`, Host: accountHost(t), Want: "there is no group none"},
		{Name: "no such other group", Args: `{"name": "old", "groups": ["none"]}`, Host: accountHost(t), Want: "there is no group none"},
		{Name: "no name", Args: `{"name": "a:b"}`, Want: "no name of a user"},
		{Name: "more than none", Args: `{"name": "old", "append": true}`, Want: "append needs groups"},
		{Name: "a line in the hash", Args: `{"name": "old", "password": "a\nb:c"}`, Want: "password is no hash"},
	})
}

func TestUserGetsAKey(t *testing.T) {
	host := accountHost(t)
	args := `{"name": "old", "generate_ssh_key": true, "ssh_key_type": "ed25519", "ssh_key_passphrase": "s3cret words"}`
	r := once(t, User(), args, host, modtest.Setup{ActTrips: 3})
	equal(t, "differences", strings.Join(r.DiffNotes(), "; "), "user old key /home/old/.ssh/id_ed25519 is made")
	equal(t, "key file", r.Get("ssh_key_file"), `"/home/old/.ssh/id_ed25519"`)
	equal(t, "public key", r.Get("ssh_public_key"), `"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBXu me"`)
	if got := r.Get("ssh_fingerprint"); !strings.HasPrefix(got, `"256 SHA256:`) || !strings.HasSuffix(got, ` me (ED25519)"`) {
		t.Errorf("the fingerprint is %s", got)
	}
}

func TestLostHomeIsMadeAgain(t *testing.T) {
	host := accountHost(t).Remove("/home/old")
	r := once(t, User(), `{"name": "old"}`, host, modtest.Setup{})
	equal(t, "differences", strings.Join(r.DiffNotes(), "; "), "user old home /home/old is made")
	equal(t, "home", host.File("/home/old").Kind, modules.Directory)
}

// Later tasks of a dry run see the users and groups that earlier ones would have made.
func TestCheckModeSeesNewAccounts(t *testing.T) {
	layer := overlay.New(accountHost(t), nil)
	for _, task := range []struct {
		m    *modules.Module
		args string
	}{
		{Group(), `{"name": "app2", "gid": 3001}`},
		{User(), `{"name": "app2", "uid": 3002, "group": "app2"}`},
	} {
		p, err := modtest.Propose(t, task.m, task.args, layer.Look(), modtest.Setup{})
		if err != nil {
			t.Fatal(err)
		}
		layer.Predict(p.Predicts)
		if err := layer.Act().Apply(t.Context(), p.Leaves...); err != nil {
			t.Fatal(err)
		}
	}
	err := layer.Act().Apply(t.Context(), modules.Change{Kind: modules.Touch, Path: "/home/app2/file",
		Attributes: modules.Attributes{Owner: "app2", Group: "app2"}})
	if err != nil {
		t.Fatal(err)
	}
	files, err := layer.Look().Look(t.Context(), modules.Query{Path: "/home/app2/file"}, modules.Query{Path: "/home/app2"},
		modules.Query{Path: "/home/app2/.profile"})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.UID != 3002 || f.GID != 3001 || f.Owner != "app2" {
			t.Errorf("%s belongs to %d:%d (%s)", f.Path, f.UID, f.GID, f.Owner)
		}
	}
}
