package system

import (
	"context"
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// create proposes a new user.
func (u *account) create(ctx context.Context, host modules.Host) error {
	argv := []string{"useradd"}
	option := func(flag string, values ...string) { argv = append(append(argv, flag), values...) }
	uid := u.known.newID(u.known.passwd, "UID", u.System, -1)
	if u.UID != nil {
		uid = *u.UID
		if err := u.unique(uid); err != nil {
			return err
		}
		option("-u", strconv.Itoa(uid))
		if u.NonUnique {
			option("-o")
		}
	}
	if u.SEUser != "" {
		option("-Z", u.SEUser)
	}
	gid, own, err := u.ownGroup(ctx, host, uid, option)
	if err != nil {
		return err
	}
	groups, err := u.groupNames(ctx, host)
	if err != nil {
		return err
	}
	if len(groups) > 0 {
		option("-G", strings.Join(groups, ","))
	}
	if u.Comment != nil {
		option("-c", *u.Comment)
	}
	if u.Home != "" {
		option("-d", u.Home)
	}
	if u.Shell != "" {
		option("-s", u.Shell)
	}
	if u.Expires != nil {
		option("-e", u.expiry())
	}
	u.homeOptions(option)
	if u.System {
		option("-r")
	}
	u.commands = append(u.commands, append(argv, u.Name))
	u.put(uid, gid, own)
	u.member(groups, false)
	u.out.System, u.out.CreateHome = &u.System, &u.CreateHome
	u.differs("%s", u.made(uid, groups))
	u.newShadow()
	u.age(u.known.shadow.find(u.Name))
	return nil
}

// put makes the new user known to whoever looks for it later; own says that its group is new as well.
func (u *account) put(uid int, gid string, own bool) {
	u.after = record{u.Name, "x", strconv.Itoa(uid), gid, "", u.homeAfter(), u.defaultShell()}
	if u.Comment != nil {
		u.after[passwdComment] = *u.Comment
	}
	u.known.passwd.put(u.after)
	if own {
		u.known.group.put(record{u.Name, "x", gid, ""})
	}
}

// made says what the new user is.
func (u *account) made(uid int, groups []string) string {
	note := "is made, "
	if u.UID != nil {
		note = fmt.Sprintf("is made with uid %d, ", uid)
	}
	note += "home " + u.after[passwdHome] + ", shell " + u.after[passwdShell]
	if len(groups) > 0 {
		note += ", groups " + strings.Join(groups, ",")
	}
	return note
}

func (u *account) defaultShell() string {
	switch {
	case u.Shell != "":
		return u.Shell
	case u.known.useradd["SHELL"] != "":
		return u.known.useradd["SHELL"]
	}
	return "/bin/sh"
}

func (u *account) unique(uid int) error {
	if other := u.known.passwd.byID(uid); other != nil && other[0] != u.Name && !u.NonUnique {
		return fmt.Errorf("uid %d belongs to user %s; give %s another, or non_unique: true", uid, other[0], u.Name)
	}
	return nil
}

// ownGroup chooses the new user's own group, as useradd does; own says that the group is made with it.
func (u *account) ownGroup(ctx context.Context, host modules.Host, uid int, option func(string, ...string)) (gid string, own bool, err error) {
	if u.Group != "" {
		g, err := u.known.groupOf(ctx, host, u.Group)
		if err != nil {
			return "", false, err
		}
		option("-g", u.Group)
		return g.at(2), false, nil
	}
	if u.known.group.find(u.Name) != nil {
		option("-N")
	} else if u.known.defs["USERGROUPS_ENAB"] == "yes" {
		return strconv.Itoa(u.known.newID(u.known.group, "GID", u.System, uid)), true, nil
	}
	if gid := u.known.useradd["GROUP"]; gid != "" {
		return gid, false, nil
	}
	return "100", false, nil
}

// homeOptions says how useradd makes the home. Parents that are missing are made before.
func (u *account) homeOptions(option func(string, ...string)) {
	if !u.CreateHome {
		option("-M")
		return
	}
	if parent := path.Dir(u.homeAfter()); parent != "/" && parent != "/home" && u.home.Kind == modules.Missing {
		u.commands = append(u.commands, []string{"mkdir", "-p", "--", parent})
	}
	option("-m")
	if u.Skeleton != "" {
		option("-k", u.Skeleton)
	}
	if u.Umask != "" {
		option("-K", "UMASK="+u.Umask)
	}
}

// expiry is the day on which the account ends, as useradd and usermod take it.
func (u *account) expiry() string {
	if *u.Expires < 0 {
		return ""
	}
	return time.Unix(int64(*u.Expires), 0).UTC().Format("2006-01-02")
}

// expiryDay is the same as shadow(5) has it.
func (u *account) expiryDay() string {
	if *u.Expires < 0 {
		return ""
	}
	return strconv.Itoa(int(math.Floor(*u.Expires / 86400)))
}

// newShadow proposes the password of a user that is made.
func (u *account) newShadow() {
	if !u.shadowed() {
		return
	}
	hash := "!"
	if u.Password != "" {
		hash = u.locked()
		u.setPassword(hash)
	}
	shadow := record{u.Name, hash, "", u.known.defs["PASS_MIN_DAYS"], u.known.defs["PASS_MAX_DAYS"], u.known.defs["PASS_WARN_AGE"], "", "", ""}
	if u.Expires != nil {
		shadow[shadowExpires] = u.expiryDay()
	}
	u.known.shadow.put(shadow)
}

// locked is the hash with the mark of a locked password where that is asked for.
func (u *account) locked() string {
	if u.Lock != nil && *u.Lock {
		return "!" + u.Password
	}
	return u.Password
}

// setPassword hands the hash to chpasswd by its standard input, where no process list shows it.
func (u *account) setPassword(hash string) {
	u.commands = append(u.commands, []string{"chpasswd", "-e"})
	u.stdin = u.Name + ":" + hash + "\n"
	if u.Password != "" && !hashed(u.Password) {
		u.p.Message = "the password does not look like a hash; /etc/shadow keeps it as it is, and nobody can log in with it"
	}
}

// hashed says whether a text may be the hash of a password, or one of those that lock an account.
func hashed(password string) bool {
	return slices.Contains([]string{"*", "!", "!!", "!*"}, password) || strings.Count(password, "$") >= 3
}

// modify proposes the differences of a user that is there.
func (u *account) modify(ctx context.Context, host modules.Host) error {
	u.after = slices.Clone(u.record)
	for len(u.after) <= passwdShell {
		u.after = append(u.after, "")
	}
	argv := []string{"usermod"}
	field := func(flag string, i int, want, what string) {
		if u.after[i] == want {
			return
		}
		argv = append(argv, flag, want)
		u.differs("%s %s → %s", what, u.after[i], want)
		u.after[i] = want
	}
	if u.UID != nil && u.record.id() != *u.UID {
		if err := u.unique(*u.UID); err != nil {
			return err
		}
		field("-u", 2, strconv.Itoa(*u.UID), "uid")
		if u.NonUnique {
			argv = append(argv, "-o")
		}
	}
	if u.Group != "" {
		g, err := u.known.groupOf(ctx, host, u.Group)
		if err != nil {
			return err
		}
		field("-g", passwdGroup, g.at(2), "group")
	}
	if err := u.modifyGroups(ctx, host, &argv); err != nil {
		return err
	}
	if u.Comment != nil {
		field("-c", passwdComment, *u.Comment, "comment")
	}
	if old := u.after[passwdHome]; u.Home != "" && old != u.Home {
		field("-d", passwdHome, u.Home, "home")
		if u.MoveHome {
			argv = append(argv, "-m")
			u.p.Leaves = append(u.p.Leaves, u.moved(old)...)
		}
	}
	if u.Shell != "" {
		field("-s", passwdShell, u.Shell, "shell")
	}
	u.known.passwd.put(u.after)
	u.modifyShadow(&argv)
	u.out.Append, u.out.MoveHome = &u.Append, &u.MoveHome
	return nil
}

// moved is what moving the home leaves; usermod does it only where the new one is not there yet.
func (u *account) moved(old string) []modules.Change {
	if u.home.Kind != modules.Missing {
		return nil
	}
	u.home.Kind = modules.Directory
	return []modules.Change{{Kind: modules.Rename, Path: old, Target: u.Home}}
}

func (u *account) modifyGroups(ctx context.Context, host modules.Host, argv *[]string) error {
	if u.Groups == nil {
		return nil
	}
	want, err := u.groupNames(ctx, host)
	if err != nil {
		return err
	}
	have := u.memberships()
	missing := slices.DeleteFunc(slices.Clone(want), func(g string) bool { return slices.Contains(have, g) })
	extra := slices.DeleteFunc(slices.Clone(have), func(g string) bool { return slices.Contains(want, g) })
	switch {
	case u.Append && len(missing) > 0:
		*argv = append(*argv, "-a", "-G", strings.Join(want, ","))
		u.differs("joins %s", strings.Join(missing, ","))
	case !u.Append && len(missing)+len(extra) > 0:
		*argv = append(*argv, "-G", strings.Join(want, ","))
		u.differs("groups %s → %s", strings.Join(have, ","), strings.Join(want, ","))
	}
	u.member(want, u.Append)
	return nil
}

// modifyShadow adds what /etc/shadow knows: the end of the account, its password and the password's age.
func (u *account) modifyShadow(argv *[]string) {
	shadow := slices.Clone(u.known.shadow.find(u.Name))
	for len(shadow) <= shadowExpires+1 {
		shadow = append(shadow, "")
	}
	shadow[0] = u.Name
	if u.Expires != nil && strings.TrimPrefix(shadow[shadowExpires], "-1") != u.expiryDay() {
		*argv = append(*argv, "-e", u.expiry())
		u.differs("expires %s", map[bool]string{true: "never", false: u.expiry()}[*u.Expires < 0])
		shadow[shadowExpires] = u.expiryDay()
	}
	old := shadow[shadowPassword]
	set := u.Password != "" && u.Update == "always" && strings.TrimLeft(old, "!") != strings.TrimLeft(u.Password, "!")
	switch {
	case set:
		shadow[shadowPassword] = u.locked()
		u.differs("password differs")
	case u.Lock != nil && *u.Lock && !strings.HasPrefix(old, "!"):
		*argv = append(*argv, "-L")
		shadow[shadowPassword] = "!" + old
		u.differs("password is locked")
	case u.Lock != nil && !*u.Lock && strings.HasPrefix(old, "!") && strings.Trim(old, "!*") != "":
		*argv = append(*argv, "-U")
		shadow[shadowPassword] = strings.TrimPrefix(old, "!")
		u.differs("password is unlocked")
	}
	if len(*argv) > 1 {
		u.commands = append(u.commands, append(*argv, u.Name))
	}
	if set {
		u.setPassword(shadow[shadowPassword])
	}
	if u.shadowed() {
		u.known.shadow.put(shadow)
	}
	u.age(shadow)
}

// age proposes how long a password lasts.
func (u *account) age(shadow record) {
	argv := []string{"chage"}
	limit := func(flag string, i int, want *int, what string) {
		if want == nil || shadow.at(i) == strconv.Itoa(*want) {
			return
		}
		argv = append(argv, flag, strconv.Itoa(*want))
		u.differs("%s %s → %d days", what, shadow.at(i), *want)
		shadow[i] = strconv.Itoa(*want)
	}
	limit("-m", shadowMinimum, u.Minimum, "password stays at least")
	limit("-M", shadowMaximum, u.Maximum, "password lasts at most")
	if len(argv) > 1 {
		u.commands = append(u.commands, append(argv, u.Name))
	}
}

// accompany proposes what belongs to a user besides its record: its home and its key.
func (u *account) accompany(ctx context.Context, host modules.Host) error {
	if u.CreateHome && u.home.Kind == modules.Missing {
		u.makeHome()
	}
	return u.proposeKey(ctx, host)
}

// makeHome proposes the home of a user. useradd makes a new user's; one that has lost it gets it from
// the skeleton.
func (u *account) makeHome() {
	home := u.after.at(passwdHome)
	owner, group := u.after.at(2), u.after.at(passwdGroup)
	mode := u.homeMode()
	if u.record != nil {
		u.differs("home %s is made", home)
		skeleton := u.Skeleton
		if skeleton == "" {
			skeleton = "/etc/skel"
		}
		u.commands = append(u.commands, []string{"mkdir", "-p", "--", path.Dir(home)},
			[]string{"/bin/sh", "-c", `if [ -d "$1" ]; then cp -a -- "$1" "$2"; else mkdir -- "$2"; fi`, "sh", skeleton, home},
			[]string{"chown", "-R", owner + ":" + group, "--", home}, []string{"chmod", fmt.Sprintf("%04o", mode), "--", home})
	}
	owned := modules.Attributes{Owner: owner, Group: group, Mode: &mode}
	u.p.Leaves = append(u.p.Leaves, modules.Change{Kind: modules.MakeDirectory, Path: home, Attributes: owned})
	for _, f := range u.skel {
		if f.Kind == modules.Regular {
			u.p.Leaves = append(u.p.Leaves, modules.Change{Kind: modules.CopyFile, Path: f.Path, Target: path.Join(home, path.Base(f.Path)),
				Attributes: modules.Attributes{Owner: owner, Group: group, Mode: &f.Mode}})
		}
	}
	u.home.Kind = modules.Directory
}

// homeMode is the permissions of a new home, as login.defs has them.
func (u *account) homeMode() uint32 {
	octal := func(text string) (uint32, bool) {
		n, err := strconv.ParseUint(text, 8, 12)
		return uint32(n), err == nil
	}
	if n, ok := octal(u.Umask); ok {
		return 0o777 &^ n
	}
	if n, ok := octal(u.known.defs["HOME_MODE"]); ok {
		return n
	}
	if n, ok := octal(u.known.defs["UMASK"]); ok {
		return 0o777 &^ n
	}
	return 0o755
}
