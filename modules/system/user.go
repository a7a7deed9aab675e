package system

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// User makes, changes or removes a user.
func User() *modules.Module {
	return modules.Define("user", `Make, change or remove a user

password is the hash as /etc/shadow keeps it (mkpasswd makes one), not the password itself; it never shows
in the host's process list. groups are all the groups the user is in besides its own, or with append: true
some of them. Without group, a new user gets a group of its own name, or where such a group is there
already, the one that useradd takes for everybody.

local: true does not ask a directory service such as LDAP whether it knows the user. generate_ssh_key with
force: true makes a new key each time.

    - name: who the servers run as
      user:
        name: pegasus
        uid: 2001
        group: pegasus
        groups: [adm]
        append: true
        shell: /bin/bash
        generate_ssh_key: true
        ssh_key_type: ed25519`, proposeUser)
}

type userArgs struct {
	Name       string   `arg:"name,required,alias=user" doc:"the user"`
	State      string   `arg:"state" default:"present" choices:"present,absent" doc:"whether the user is there"`
	UID        *int     `arg:"uid" doc:"its number; the host chooses when it is not given"`
	NonUnique  bool     `arg:"non_unique" doc:"whether another user may have the same uid"`
	Group      string   `arg:"group" doc:"its own group, name or number"`
	Groups     []string `arg:"groups" doc:"its other groups, as a list or separated by commas; an empty list takes it out of all"`
	Append     bool     `arg:"append" doc:"whether it stays in the groups that are not listed"`
	Comment    *string  `arg:"comment" doc:"its full name or the like"`
	Home       string   `arg:"home,path" doc:"its home"`
	MoveHome   bool     `arg:"move_home" doc:"whether the content of the old home goes to the new one"`
	CreateHome bool     `arg:"create_home,alias=createhome" default:"true" doc:"whether its home is made where it is missing"`
	Skeleton   string   `arg:"skeleton,path" doc:"what a new home starts with; /etc/skel when it is not given"`
	Umask      string   `arg:"umask" doc:"umask of a new user's home"`
	Shell      string   `arg:"shell" doc:"its shell"`
	SEUser     string   `arg:"seuser" doc:"SELinux user of a new user"`
	System     bool     `arg:"system" doc:"whether a new user gets one of the system's numbers"`
	Local      bool     `arg:"local" doc:"whether only the host's own files count"`
	Remove     bool     `arg:"remove" doc:"whether its home and mail go with it (state: absent)"`
	Force      bool     `arg:"force" doc:"whether a user with processes is removed, and whether a key that is there is replaced"`

	Password string   `arg:"password,secret" doc:"hash of the password; ! or * for none that fits"`
	Update   string   `arg:"update_password" default:"always" choices:"always,on_create" doc:"whether the password of a user that is there is set"`
	Lock     *bool    `arg:"password_lock" doc:"whether the password is locked"`
	Maximum  *int     `arg:"password_expire_max" doc:"days after which the password must be changed"`
	Minimum  *int     `arg:"password_expire_min" doc:"days before which the password must not be changed"`
	Expires  *float64 `arg:"expires" doc:"when the account ends, in seconds since 1970; negative: never"`

	keyArgs
}

// userState is what user registers.
type userState struct {
	Name       string  `json:"name"`
	State      string  `json:"state"`
	UID        *int    `json:"uid,omitempty"`
	Group      *int    `json:"group,omitempty"`
	Comment    *string `json:"comment,omitempty"`
	Home       string  `json:"home,omitempty"`
	Shell      string  `json:"shell,omitempty"`
	Groups     *string `json:"groups,omitempty"`
	Append     *bool   `json:"append,omitempty"`
	MoveHome   *bool   `json:"move_home,omitempty"`
	System     *bool   `json:"system,omitempty"`
	CreateHome *bool   `json:"create_home,omitempty"`
	Password   string  `json:"password,omitempty"`
	Force      *bool   `json:"force,omitempty"`
	Remove     *bool   `json:"remove,omitempty"`
	keyState
}

// account is one user at work.
type account struct {
	userArgs
	known  *accounts
	record record // as it is; nil for none
	after  record // as it should be
	home   modules.File
	key    keyFiles
	skel   []modules.File
	out    *userState
	p      *modules.Proposal
	// commands are carried out in order; stdin is what chpasswd reads.
	commands [][]string
	stdin    string
}

func proposeUser(ctx context.Context, call *modules.Call, args userArgs) (*modules.Proposal, error) {
	if err := args.check(); err != nil {
		return nil, err
	}
	out := &userState{Name: args.Name, State: args.State}
	u := &account{userArgs: args, out: out, p: &modules.Proposal{Output: out}}
	if err := u.look(ctx, call.Host); err != nil {
		return nil, err
	}
	var err error
	switch {
	case args.State == "absent":
		u.remove()
	case u.record == nil:
		err = u.create(ctx, call.Host)
	default:
		err = u.modify(ctx, call.Host)
	}
	if err != nil || args.State == "absent" {
		return u.p, err
	}
	u.register()
	if err := u.accompany(ctx, call.Host); err != nil {
		return nil, err
	}
	u.finish()
	return u.p, nil
}

// check refuses what cannot be meant, and splits groups at commas.
func (a *userArgs) check() error {
	if strings.ContainsAny(a.Name, ":/ \n") || a.Name == "" || a.Name[0] == '-' {
		return &modules.ArgumentError{Arg: "name", Problem: fmt.Sprintf("%q is no name of a user", a.Name)}
	}
	if strings.ContainsAny(a.Password, ":\n") {
		return &modules.ArgumentError{Arg: "password", Problem: "password is no hash: it holds a colon or a line break",
			Hint: "write the hash that mkpasswd prints"}
	}
	if a.Append && a.Groups == nil {
		return &modules.ArgumentError{Arg: "append", Problem: "append needs groups", Hint: "give groups, or leave append out"}
	}
	if a.Groups == nil {
		return nil
	}
	groups := []string{}
	for _, text := range a.Groups {
		for group := range strings.SplitSeq(text, ",") {
			if group = strings.TrimSpace(group); group != "" && !slices.Contains(groups, group) {
				groups = append(groups, group)
			}
		}
	}
	a.Groups = groups
	return nil
}

// shadowed says whether the task is about what only /etc/shadow knows, which only root can read.
func (a *userArgs) shadowed() bool {
	return a.Password != "" || a.Lock != nil || a.Expires != nil || a.Maximum != nil || a.Minimum != nil
}

// look reads everything at once where the user's home is where it is usually. Where it is not, one more
// look is needed, and another question where a directory service may know the user.
func (u *account) look(ctx context.Context, host modules.Host) error {
	queries := accountFiles(u.shadowed())
	n := len(queries)
	guess := u.Home
	if guess == "" {
		guess = "/home/" + u.Name
	}
	files, err := host.Look(ctx, append(queries, u.homeQueries(guess)...)...)
	if err != nil {
		return err
	}
	u.known = readAccounts(files[:n])
	u.record = u.known.passwd.find(u.Name)
	if u.record == nil && !u.Local {
		if u.record, err = u.known.elsewhere(ctx, host, "passwd", u.Name); err != nil {
			return err
		}
	}
	home := u.homeAfter()
	if files = files[n:]; home != guess && u.State == "present" {
		if files, err = host.Look(ctx, u.homeQueries(home)...); err != nil {
			return err
		}
	}
	u.home, u.skel, u.key = files[0], files[1].Entries, keyFiles{private: files[2], public: files[3]}
	return nil
}

func (u *account) homeQueries(home string) []modules.Query {
	skeleton := u.Skeleton
	if skeleton == "" {
		skeleton = "/etc/skel"
	}
	key := u.keyPath(home)
	return []modules.Query{{Path: home, Follow: true}, {Path: skeleton, Follow: true, List: true},
		{Path: key, Follow: true}, {Path: key + ".pub", Follow: true, Content: 1 << 16}}
}

// homeAfter is where the user's home is in the end.
func (u *account) homeAfter() string {
	switch {
	case u.Home != "":
		return path.Clean(u.Home)
	case u.record != nil && u.record.at(passwdHome) != "":
		return u.record.at(passwdHome)
	}
	base := u.known.useradd["HOME"]
	if base == "" {
		base = "/home"
	}
	return path.Join(base, u.Name)
}

func (u *account) subject() string { return "user " + u.Name }

func (u *account) differs(format string, args ...any) {
	u.p.Diff = append(u.p.Diff, modules.Diff{Subject: u.subject(), Note: fmt.Sprintf(format, args...)})
}

// remove proposes that the user goes.
func (u *account) remove() {
	if u.record == nil {
		return
	}
	argv := []string{"userdel"}
	if u.Force {
		argv = append(argv, "-f")
	}
	home := u.record.at(passwdHome)
	note := "is removed"
	if u.Remove {
		argv, note = append(argv, "-r"), "is removed with "+home
	}
	u.out.Force, u.out.Remove = &u.Force, &u.Remove
	u.differs("%s", note)
	u.known.passwd.remove(u.Name)
	u.known.shadow.remove(u.Name)
	u.member(nil, false)
	if own := u.known.group.find(u.Name); own != nil && own.at(groupMembers) == "" && own.at(2) == u.record.at(passwdGroup) &&
		u.known.defs["USERGROUPS_ENAB"] == "yes" {
		u.known.group.remove(u.Name)
	}
	u.p.Predicts, u.p.Leaves = map[string]string{}, u.tables()
	if u.Remove && home != "" && home != "/" {
		u.p.Leaves = append(u.p.Leaves, modules.Change{Kind: modules.Remove, Path: home})
	}
	u.p.Do = func(ctx context.Context, host modules.Host) error {
		_, err := host.Run(ctx, script(append(argv, u.Name)))
		return err
	}
}

// tables are the account files as they are left.
func (u *account) tables() []modules.Change {
	return slices.Concat(u.known.passwd.leaves(), u.known.group.leaves(), u.known.shadow.leaves())
}

// memberships are the groups that list the user.
func (u *account) memberships() []string {
	groups := []string{}
	for _, g := range u.known.group.records {
		if slices.Contains(strings.Split(g.at(groupMembers), ","), u.Name) {
			groups = append(groups, g[0])
		}
	}
	return groups
}

// member puts the user into the lists of these groups, and without more takes it out of all others.
func (u *account) member(groups []string, more bool) {
	for i, g := range u.known.group.records {
		listed := slices.Contains(strings.Split(g.at(groupMembers), ","), u.Name)
		wanted := slices.Contains(groups, g[0]) || more && listed
		if listed == wanted || len(g) <= groupMembers {
			continue
		}
		members := strings.FieldsFunc(g[groupMembers], func(c rune) bool { return c == ',' })
		if wanted {
			members = append(members, u.Name)
		} else {
			members = slices.DeleteFunc(members, func(m string) bool { return m == u.Name })
		}
		g = slices.Clone(g)
		g[groupMembers] = strings.Join(members, ",")
		u.known.group.records[i] = g
	}
}

// groupNames are the groups that the task lists, by name. A group that is nowhere is an error.
func (u *account) groupNames(ctx context.Context, host modules.Host) ([]string, error) {
	names := []string{}
	for _, who := range u.Groups {
		g, err := u.known.groupOf(ctx, host, who)
		if err != nil {
			return nil, err
		}
		names = append(names, g[0])
	}
	return names, nil
}

// register fills in what the task leaves, from the record as it should be.
func (u *account) register() {
	uid, gid := u.after.id(), 0
	if n, err := strconv.Atoi(u.after.at(passwdGroup)); err == nil {
		gid = n
	}
	comment := u.after.at(passwdComment)
	u.out.UID, u.out.Group, u.out.Comment = &uid, &gid, &comment
	u.out.Home, u.out.Shell = u.after.at(passwdHome), u.after.at(passwdShell)
	if u.Groups != nil {
		groups := strings.Join(u.Groups, ",")
		u.out.Groups = &groups
	}
	if u.Password != "" {
		u.out.Password = "NOT_LOGGING_PASSWORD"
	}
}

// finish turns the commands into one round trip.
func (u *account) finish() {
	if len(u.commands) == 0 {
		return
	}
	if u.p.Predicts == nil {
		u.p.Predicts = map[string]string{}
	}
	u.p.Leaves = slices.Concat(u.tables(), u.p.Leaves)
	u.p.Do = func(ctx context.Context, host modules.Host) error {
		cmd := script(append(u.commands, []string{"getent", "passwd", u.Name})...)
		cmd.Stdin = []byte(u.stdin)
		if u.Passphrase != "" {
			cmd.Env["PEGBOOK_PASSPHRASE"] = u.Passphrase
		}
		done, err := host.Run(ctx, cmd)
		if err != nil {
			return err
		}
		if left := record(strings.Split(lastLine(done.Stdout), ":")); len(left) > passwdShell {
			u.after = left
			u.register()
		}
		return u.readKey(ctx, host)
	}
}
