package connect

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kevinburke/ssh_config"
)

// settings are what the user's ssh configuration says about one host. Zero values are unsaid.
type settings struct {
	HostName       string
	User           string
	Port           int
	IdentityFiles  []string
	IdentitiesOnly bool
	IdentityAgent  string
	ProxyJump      string
	ProxyCommand   string
	KnownHosts     []string // the user's; the first is where new keys go
	GlobalHosts    []string
	HostKeyAlias   string
	AcceptNew      bool
	KeepAlive      time.Duration
}

// configs answers what the ssh configuration says, with as few ssh processes as possible: none where
// the files hold nothing that concerns us, one for all hosts that the same Host lines apply to.
type configs struct {
	mu    sync.Mutex // guards files
	files map[string]*configFile
	forks chan struct{} // bounds ssh processes
}

func newConfigs() *configs {
	return &configs{files: map[string]*configFile{}, forks: make(chan struct{}, 4)}
}

// configFile is one way to read configuration: a file named by the user, or the usual ones.
type configFile struct {
	flags []string // for ssh -G
	text  *configText

	mu      sync.Mutex // guards answers
	answers map[string]*configAnswer
}

type configAnswer struct {
	once sync.Once
	settings
	asked string // the name that ssh was asked about
	err   error
}

// lookup gives the settings of a host as the user wrote its name. file is Address.ConfigFile.
func (c *configs) lookup(ctx context.Context, file, name string) (settings, error) {
	if file == "none" {
		return settings{}, nil
	}
	f, err := c.file(file)
	if err != nil || !f.text.relevant {
		return settings{}, err
	}
	key := f.text.signature(name)
	f.mu.Lock()
	a := f.answers[key]
	if a == nil {
		a = &configAnswer{}
		f.answers[key] = a
	}
	f.mu.Unlock()
	a.once.Do(func() {
		a.asked = name
		a.settings, a.err = c.ask(context.WithoutCancel(ctx), f, name)
	})
	s := a.settings
	if !f.text.renames {
		// ssh -G repeats the name it was asked about, which is another host's where the answer is shared.
		s.HostName = ""
	} else if f.text.shared && strings.EqualFold(s.HostName, a.asked) {
		s.HostName = ""
	}
	return s, a.err
}

func (c *configs) file(file string) (*configFile, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.files[file]; f != nil {
		return f, nil
	}
	f := &configFile{text: &configText{shared: true}, answers: map[string]*configAnswer{}}
	own := expandHome("~/.ssh/config")
	var err error
	switch {
	case file != "":
		path := expandHome(file)
		f.flags = []string{"-F", path}
		err = f.text.read(path, 0)
	default:
		if err = f.text.read("/etc/ssh/ssh_config", 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			break
		}
		system := f.text.relevant
		if err = f.text.read(own, 0); errors.Is(err, fs.ErrNotExist) {
			err = nil
		} else if !system {
			// Named, because ssh looks for its home in the user database and we in HOME.
			f.flags = []string{"-F", own}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ssh configuration: %w", err)
	}
	c.files[file] = f
	return f, nil
}

func (c *configs) ask(ctx context.Context, f *configFile, name string) (settings, error) {
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		return f.text.parse(name)
	}
	c.forks <- struct{}{}
	defer func() { <-c.forks }()
	cmd := exec.CommandContext(ctx, ssh, append(append([]string{"-G"}, f.flags...), "--", name)...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return settings{}, fmt.Errorf("ssh configuration: ssh -G %s: %s", name, strings.TrimSpace(complaint.String()))
	}
	return parseDump(out), nil
}

// parseDump reads what ssh -G prints: a keyword in lower case and its value a line.
func parseDump(dump []byte) settings {
	var s settings
	for line := range strings.Lines(string(dump)) {
		keyword, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		s.set(keyword, value)
	}
	return s
}

// set takes one setting; of several for one keyword the first stands, except files, which add up.
func (s *settings) set(keyword, value string) {
	first := func(to *string) {
		if *to == "" && value != "none" {
			*to = value
		}
	}
	switch keyword {
	case "hostname":
		first(&s.HostName)
	case "user":
		first(&s.User)
	case "port":
		if n, err := strconv.Atoi(value); err == nil && s.Port == 0 && n > 0 && n < 1<<16 {
			s.Port = n
		}
	case "identityfile":
		s.IdentityFiles = append(s.IdentityFiles, value)
	case "identitiesonly":
		s.IdentitiesOnly = s.IdentitiesOnly || value == "yes"
	case "identityagent":
		if s.IdentityAgent == "" {
			s.IdentityAgent = value // "none" is a meaning of its own
		}
	case "proxyjump":
		first(&s.ProxyJump)
	case "proxycommand":
		first(&s.ProxyCommand)
	case "userknownhostsfile":
		s.KnownHosts = append(s.KnownHosts, strings.Fields(value)...)
	case "globalknownhostsfile":
		s.GlobalHosts = append(s.GlobalHosts, strings.Fields(value)...)
	case "hostkeyalias":
		first(&s.HostKeyAlias)
	case "stricthostkeychecking":
		s.AcceptNew = s.AcceptNew || value == "accept-new"
	case "serveraliveinterval":
		if n, err := strconv.Atoi(value); err == nil && s.KeepAlive == 0 && n > 0 {
			s.KeepAlive = time.Duration(n) * time.Second
		}
	}
}

// keywords are those of the settings, whose presence in a file makes it worth asking ssh.
const keywords = " hostname user port identityfile identitiesonly identityagent proxyjump proxycommand userknownhostsfile" +
	" globalknownhostsfile hostkeyalias stricthostkeychecking serveraliveinterval match canonicalizehostname tag "

// configText is what files of ssh configuration hold, as far as it decides which hosts have the same
// settings.
type configText struct {
	relevant bool       // something in it concerns us
	shared   bool       // hosts under the same Host lines have the same settings
	renames  bool       // there is a HostName
	hosts    [][]string // patterns of each Host line
	content  []byte
}

const maxIncludes = 16

func (t *configText) read(file string, depth int) error {
	if depth > maxIncludes {
		return fmt.Errorf("%s: more than %d files include each other", file, maxIncludes)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	t.content = append(append(t.content, content...), '\n')
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		keyword, value := splitSetting(lines.Text())
		switch keyword {
		case "host":
			t.hosts = append(t.hosts, strings.Fields(value))
		case "include":
			if err := t.include(file, value, depth); err != nil {
				return err
			}
		case "match", "canonicalizehostname":
			t.shared = false
		case "hostname":
			t.renames = true
		}
		t.relevant = t.relevant || strings.Contains(keywords, " "+keyword+" ")
		if strings.Contains(keywords, " "+keyword+" ") && strings.Contains(value, "%") {
			t.shared = false
		}
	}
	return lines.Err()
}

func (t *configText) include(file, value string, depth int) error {
	for _, pattern := range strings.Fields(value) {
		pattern = expandHome(strings.Trim(pattern, `"`))
		if !filepath.IsAbs(pattern) {
			// Relative names are below ~/.ssh in a user's file and below /etc/ssh in the system's.
			base := expandHome("~/.ssh")
			if strings.HasPrefix(file, "/etc/ssh/") {
				base = "/etc/ssh"
			}
			pattern = filepath.Join(base, pattern)
		}
		found, err := filepath.Glob(pattern)
		if err != nil {
			return fmt.Errorf("%s: include %s: %w", file, pattern, err)
		}
		for _, f := range found {
			if err := t.read(f, depth+1); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// splitSetting takes a line apart: keyword in lower case, value; "key value" and "key=value" are alike.
func splitSetting(line string) (keyword, value string) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", ""
	}
	i := strings.IndexAny(line, " \t=")
	if i < 0 {
		return strings.ToLower(line), ""
	}
	return strings.ToLower(line[:i]), strings.TrimLeft(line[i:], " \t=")
}

// signature is the same for two names that have the same settings.
func (t *configText) signature(name string) string {
	if !t.shared {
		return name
	}
	bits := make([]byte, len(t.hosts))
	for i, patterns := range t.hosts {
		bits[i] = '0'
		if matches(patterns, name) {
			bits[i] = '1'
		}
	}
	return "\x00" + string(bits)
}

// matches says whether a Host line applies: some pattern fits, and none that is negated.
func matches(patterns []string, name string) bool {
	fits := false
	for _, p := range patterns {
		p, negated := strings.CutPrefix(strings.Trim(p, `"`), "!")
		ok, err := path.Match(strings.ReplaceAll(strings.ToLower(p), "[", `\[`), strings.ToLower(name))
		if err != nil || !ok {
			continue
		}
		if negated {
			return false
		}
		fits = true
	}
	return fits
}

// parse is the way where there is no ssh program to ask.
func (t *configText) parse(name string) (settings, error) {
	config, err := ssh_config.DecodeBytes(t.content)
	if err != nil {
		return settings{}, fmt.Errorf("ssh configuration: %w (install the ssh client, which reads all of it)", err)
	}
	var s settings
	for keyword := range strings.FieldsSeq(keywords) {
		if keyword == "match" || keyword == "tag" || keyword == "canonicalizehostname" {
			continue
		}
		values, err := config.GetAll(name, keyword)
		if err != nil {
			return settings{}, fmt.Errorf("ssh configuration: %w", err)
		}
		for _, value := range values {
			s.set(keyword, strings.ReplaceAll(value, "%h", name))
		}
	}
	return s, nil
}

// expandHome turns a leading ~ into the user's home.
func expandHome(path string) string {
	if path != "~" && !strings.HasPrefix(path, "~/") {
		return path
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return path
	}
	return home + path[1:]
}

// loginName is who the user is here, and so, unless said otherwise, there.
func loginName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return os.Getenv("USER")
}
