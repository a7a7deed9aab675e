package system

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// AuthorizedKey lets keys log in as a user.
func AuthorizedKey() *modules.Module {
	return modules.Define("authorized_key", `Let SSH keys log in as a user

key is one public key or several, as a list or a line each. A key that is there with other options or
another comment takes those of the task. exclusive: true removes every other line: give all keys in one
task then, because each task of a loop would remove the others'. A key is not fetched from an address.

    - name: who may log in
      authorized_key:
        user: pegasus
        key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFGoOcRtnVqrpRcbSTzZYVcEVY1XGE6ymzBVx0VnWVmB admin"
        key_options: from="10.0.0.0/8"`, proposeAuthorizedKey)
}

type authorizedKeyArgs struct {
	User      string   `arg:"user,required" doc:"the user"`
	Key       []string `arg:"key,required" doc:"the public keys"`
	Path      string   `arg:"path,path" doc:"the file; .ssh/authorized_keys in the user's home when it is not given"`
	ManageDir bool     `arg:"manage_dir" default:"true" doc:"whether the file's folder is made, and belongs to the user alone"`
	State     string   `arg:"state" default:"present" choices:"present,absent" doc:"whether the keys are there"`
	Options   *string  `arg:"key_options" doc:"what the keys may do, such as from=\"10.0.0.0/8\",no-pty"`
	Exclusive bool     `arg:"exclusive" doc:"whether all other keys and lines go"`
	Comment   *string  `arg:"comment" doc:"comment of the keys, instead of the one that they have"`
	Follow    bool     `arg:"follow" doc:"whether a file that is a link is written where it points to, instead of taking the link's place"`
}

// authorizedKeyState is what authorized_key registers.
type authorizedKeyState struct {
	User    string   `json:"user"`
	KeyFile string   `json:"keyfile"`
	State   string   `json:"state"`
	Keys    []string `json:"key"`
}

func proposeAuthorizedKey(ctx context.Context, call *modules.Call, args authorizedKeyArgs) (*modules.Proposal, error) {
	keys, err := args.keys()
	if err != nil {
		return nil, err
	}
	user, files, err := args.look(ctx, call.Host)
	if err != nil {
		return nil, err
	}
	out := &authorizedKeyState{User: args.User, KeyFile: files[0].Path, State: args.State, Keys: args.Key}
	p := &modules.Proposal{Output: out}
	w := rewrite{file: files[0], after: args.edited(string(files[0].Content), keys)}
	if string(w.file.Content) == w.after {
		return p, nil
	}
	p.Diff = []modules.Diff{w.diff()}
	owned := modules.Attributes{Owner: user.at(2), Group: user.at(passwdGroup)}
	change := w.change()
	if change.Attributes = owned; args.Follow && files[1].Kind == modules.Symlink {
		change.Path = path.Join(path.Dir(files[1].Path), files[1].Target)
		if path.IsAbs(files[1].Target) {
			change.Path = files[1].Target
		}
	}
	change.Mode = permissions(0o600)
	changes := []modules.Change{change}
	if args.ManageDir {
		folder := owned
		folder.Mode = permissions(0o700)
		changes = []modules.Change{{Kind: modules.MakeDirectory, Path: path.Dir(files[0].Path), Attributes: folder}, change}
	}
	p.Do = func(ctx context.Context, host modules.Host) error { return host.Apply(ctx, changes...) }
	return p, nil
}

// look finds the user and the file, in one round trip where the home is where it is usually.
func (a authorizedKeyArgs) look(ctx context.Context, host modules.Host) (record, []modules.File, error) {
	file := a.Path
	if file == "" {
		file = "/home/" + a.User + "/.ssh/authorized_keys"
	}
	ask := func() []modules.Query {
		return []modules.Query{{Path: file, Follow: true, Content: maxText}, {Path: file}}
	}
	queries := accountFiles(false)
	files, err := host.Look(ctx, append(queries, ask()...)...)
	if err != nil {
		return nil, nil, err
	}
	known := readAccounts(files)
	user := known.passwd.find(a.User)
	if user == nil {
		if user, err = known.elsewhere(ctx, host, "passwd", a.User); err != nil {
			return nil, nil, err
		}
	}
	if user == nil {
		return nil, nil, fmt.Errorf("there is no user %s on the host; make it with a task of user before", a.User)
	}
	if own := path.Join(user.at(passwdHome), ".ssh/authorized_keys"); a.Path == "" && own != file {
		file = own
		files, err = host.Look(ctx, ask()...)
		return user, files, err
	}
	return user, files[len(queries):], nil
}

// authorizedKey is one line of the file.
type authorizedKey struct {
	line    string // as it is in the file
	options map[string]string
	order   []string // options as they are written
	kind    string
	key     string // empty for a line that is no key
	comment string
}

func (k authorizedKey) same(other authorizedKey) bool {
	return k.kind == other.kind && k.comment == other.comment && maps.Equal(k.options, other.options)
}

// text is the line as it is written.
func (k authorizedKey) text() string {
	line := strings.TrimSpace(k.kind + " " + k.key + " " + k.comment)
	if len(k.order) > 0 {
		line = strings.Join(k.order, ",") + " " + line
	}
	return line
}

// keyTypes are the names of kinds of keys that sshd knows, without those that are for certificates.
func isKeyType(word string) bool {
	base := strings.TrimSuffix(strings.TrimSuffix(word, "@openssh.com"), "-cert-v01")
	return slices.Contains([]string{"ssh-rsa", "ssh-dss", "ssh-ed25519", "ssh-xmss", "rsa-sha2-256", "rsa-sha2-512",
		"ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "sk-ssh-ed25519", "sk-ecdsa-sha2-nistp256",
		"webauthn-sk-ecdsa-sha2-nistp256"}, base)
}

// parseKey reads a line; one that is no key has none.
func parseKey(line string) authorizedKey {
	k := authorizedKey{line: line, options: map[string]string{}}
	words := strings.Fields(line)
	i := slices.IndexFunc(words, isKeyType)
	if i < 0 || i+1 >= len(words) || strings.HasPrefix(words[0], "#") {
		return k
	}
	k.kind, k.key, k.comment = words[i], words[i+1], strings.Join(words[i+2:], " ")
	k.setOptions(strings.Join(words[:i], " "))
	return k
}

// setOptions reads options, which commas separate outside of quotes.
func (k *authorizedKey) setOptions(text string) {
	k.options, k.order = map[string]string{}, nil
	quoted := rune(0)
	for _, option := range strings.FieldsFunc(text, func(c rune) bool {
		switch {
		case quoted == 0 && (c == '"' || c == '\''):
			quoted = c
		case c == quoted:
			quoted = 0
		}
		return c == ',' && quoted == 0
	}) {
		name, value, _ := strings.Cut(option, "=")
		if old, ok := k.options[name]; ok { // such as permitopen, which may be there several times
			value = old + "\x00" + value
		}
		k.options[name] = value
		k.order = append(k.order, option)
	}
}

// keys are those of the task, each once.
func (a authorizedKeyArgs) keys() ([]authorizedKey, error) {
	var keys []authorizedKey
	for _, text := range a.Key {
		if strings.HasPrefix(text, "http") {
			return nil, &modules.ArgumentError{Arg: "key", Problem: "key is an address", Hint: "fetch it with get_url or uri first and give its content"}
		}
		for _, line := range lines(text) {
			if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
				continue
			}
			k := parseKey(line)
			if k.key == "" {
				return nil, &modules.ArgumentError{Arg: "key", Problem: fmt.Sprintf("%s is no public key", shortened(line)),
					Hint: "write the line of an id_….pub file"}
			}
			if a.Options != nil {
				k.setOptions(*a.Options)
			}
			if a.Comment != nil {
				k.comment = *a.Comment
			}
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// shortened shows the start of a text.
func shortened(text string) string {
	if len(text) > 30 {
		text = text[:30] + "…"
	}
	return strconv.Quote(text)
}

// edited is the file as it should be. Lines that are not of these keys stay as they are.
func (a authorizedKeyArgs) edited(text string, keys []authorizedKey) string {
	var have []authorizedKey
	for _, line := range lines(text) {
		have = append(have, parseKey(line))
	}
	other := func(key string) func(authorizedKey) bool {
		return func(k authorizedKey) bool { return k.key == key }
	}
	changed := false
	for _, k := range keys {
		there := slices.ContainsFunc(have, func(old authorizedKey) bool { return old.key == k.key && old.same(k) })
		any := slices.ContainsFunc(have, other(k.key))
		switch {
		case a.State == "present" && !there:
			k.line = k.text()
			have, changed = append(slices.DeleteFunc(have, other(k.key)), k), true
		case a.State == "absent" && any:
			have, changed = slices.DeleteFunc(have, other(k.key)), true
		}
	}
	if a.Exclusive && a.State == "present" {
		n := len(have)
		have = slices.DeleteFunc(have, func(old authorizedKey) bool { return !slices.ContainsFunc(keys, other(old.key)) })
		changed = changed || len(have) != n
	}
	if !changed {
		return text
	}
	var all []string
	for _, k := range have {
		all = append(all, k.line)
	}
	return unlines(all)
}
