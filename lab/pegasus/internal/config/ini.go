// Package config reads the config.ini of a pegasus_server as the simulator
// understands it: the keys of the shipped template plus a [simulator] section.
// Like the real server it takes a wrong number silently for the default, so a
// file that parses does not mean that it is right.
package config

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ini is a parsed file: section → key → value, keys and values trimmed.
type ini map[string]map[string]string

// LoadError says why a config file could not be read at all. Text is what the
// real server prints before it gives up with exit code 255.
type LoadError struct{ Text string }

func (e *LoadError) Error() string { return e.Text }

func readINI(path string) (ini, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		dir, _ := filepath.Abs(filepath.Dir(path))
		return nil, &LoadError{fmt.Sprintf("ERROR: cannot open file %s in %s, err = %s", path, dir, errnoText(err))}
	}
	if len(raw) == 0 {
		return nil, &LoadError{fmt.Sprintf("ERROR: cannot get length of %s, err = Resource temporarily unavailable", path)}
	}
	return parseINI(path, string(raw))
}

func parseINI(name, text string) (ini, error) {
	f := ini{}
	var section map[string]string
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "" || line[0] == ';' || line[0] == '#':
		case line[0] == '[' && strings.HasSuffix(line, "]"):
			title := strings.TrimSpace(line[1 : len(line)-1])
			if f[title] == nil {
				f[title] = map[string]string{}
			}
			section = f[title]
		case section == nil:
			return nil, &LoadError{fmt.Sprintf("ERROR: configuration section not defined\n"+
				"ERROR: unexpected configuration in %s(line %d): %s", name, n, line)}
		default:
			key, value, _ := strings.Cut(line, "=")
			section[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, &LoadError{fmt.Sprintf("ERROR: cannot read %s: %v", name, err)}
	}
	return f, nil
}

func (f ini) text(section, key, fallback string) string {
	if v, ok := f[section][key]; ok && v != "" {
		return v
	}
	return fallback
}

func (f ini) number(section, key string, fallback int64) int64 {
	n, err := strconv.ParseInt(f[section][key], 10, 64)
	if err != nil {
		return fallback
	}
	return n
}

func (f ini) truth(section, key string, fallback bool) bool {
	switch f[section][key] {
	case "true":
		return true
	case "false":
		return false
	}
	return fallback
}

// errnoText is the C library's text for a system error, as the server prints it.
func errnoText(err error) string {
	for _, e := range []struct {
		errno syscall.Errno
		text  string
	}{
		{syscall.ENOENT, "No such file or directory"},
		{syscall.EACCES, "Permission denied"},
		{syscall.EISDIR, "Is a directory"},
	} {
		if errors.Is(err, e.errno) {
			return e.text
		}
	}
	return err.Error()
}
