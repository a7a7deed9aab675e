package overlay

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// attribute sets mode and owner as a host would, looking names up on the host.
func (v *view) attribute(ctx context.Context, f *modules.File, a modules.Attributes) error {
	if a.Mode != nil {
		f.Mode = *a.Mode
	}
	if a.Owner != "" {
		name, id, err := v.account(ctx, "passwd", a.Owner)
		if err != nil {
			return err
		}
		f.Owner, f.UID = name, id
	}
	if a.Group != "" {
		name, id, err := v.account(ctx, "group", a.Group)
		if err != nil {
			return err
		}
		f.Group, f.GID = name, id
	}
	return nil
}

// own gives a new file to the user that acts on the host: the one whose process reads /proc/self, or
// where there is no /proc the owner of the nearest folder.
func (v *view) own(ctx context.Context, f *modules.File) error {
	me, err := v.self(ctx)
	if err != nil {
		return err
	}
	for dir := f.Path; me.Kind == modules.Missing && dir != "/"; {
		dir = path.Dir(dir)
		if me, err = v.stateOf(ctx, v.layer.at(dir)); err != nil {
			return err
		}
	}
	f.UID, f.GID, f.Owner, f.Group = me.UID, me.GID, me.Owner, me.Group
	return nil
}

// self is the folder of the process that acts on the host; it belongs to the user.
func (v *view) self(ctx context.Context) (modules.File, error) {
	v.meMu.Lock()
	defer v.meMu.Unlock()
	if v.me != nil {
		return *v.me, nil
	}
	files, err := v.under.Look(ctx, modules.Query{Path: "/proc/self", Follow: true})
	if err != nil {
		return modules.File{}, err
	}
	v.me = &files[0]
	return files[0], nil
}

// maxAccounts is how much of /etc/passwd and /etc/group is read.
const maxAccounts = 4 << 20

// account finds a user or group by name or number, in the host's files and then, for a directory
// service, with getent.
func (v *view) account(ctx context.Context, database, who string) (name string, id int, err error) {
	files, err := v.look(ctx, []modules.Query{{Path: "/etc/" + database, Follow: true, Content: maxAccounts}})
	if err != nil {
		return "", 0, err
	}
	if name, id, ok := findAccount(string(files[0].Content), who); ok {
		return name, id, nil
	}
	if id, err := strconv.Atoi(who); err == nil {
		return "", id, nil
	}
	out, err := v.under.Run(ctx, modules.Command{Argv: []string{"getent", database, who}, ReadOnly: true})
	var exit *modules.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, modules.ErrUnpredicted) && !isMissing(err) {
		return "", 0, err
	}
	if name, id, ok := findAccount(string(out.Stdout), who); ok && err == nil {
		return name, id, nil
	}
	// An earlier command of the run may be the one that makes the account.
	return "", 0, fmt.Errorf("%s is in the host's %s database neither now nor predicted: %w", who, database, modules.ErrUnpredicted)
}

// findAccount reads lines such as "pegasus:x:1001:1001:…".
func findAccount(text, who string) (name string, id int, ok bool) {
	for line := range strings.SplitSeq(text, "\n") {
		fields := strings.SplitN(line, ":", 4)
		if len(fields) < 3 || (fields[0] != who && fields[2] != who) {
			continue
		}
		if id, err := strconv.Atoi(fields[2]); err == nil {
			return fields[0], id, true
		}
	}
	return "", 0, false
}
