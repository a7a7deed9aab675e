package inventory

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/vars"
)

// read reads one source by its kind.
func (s *sources) read(ctx context.Context, source string) {
	info, err := os.Stat(source)
	switch {
	case err != nil && strings.Contains(source, ","):
		s.readList(source)
	case errors.Is(err, fs.ErrNotExist):
		s.problems.Add(diag.Position{File: source}, `write "`+source+`," if it is the name of a host`, "there is no inventory %q", source)
	case err != nil:
		s.problems.Add(diag.Position{File: source}, "", "the inventory cannot be read: %v", reason(err))
	case info.IsDir():
		s.dirs = append(s.dirs, source)
		if s.readDir(ctx, source) == 0 {
			s.problems.Add(diag.Position{File: source}, noFileHint, "there is no inventory file in the directory")
		}
	default:
		s.dirs = append(s.dirs, filepath.Dir(source))
		s.readFile(ctx, source, info)
	}
}

const noFileHint = "files like hosts or hosts.yml are read; .ini, .cfg, .txt, .md, .bak and hidden ones are passed over"

// reason is an error without the path, which the diagnostic names.
func reason(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}

// readList reads "h1,h2,".
func (s *sources) readList(source string) {
	s.file, s.dir = source, ""
	at := diag.Position{File: source}
	for word := range strings.SplitSeq(source, ",") {
		if word = strings.TrimSpace(word); word != "" {
			s.addHosts(s.group(ungrouped, at), word, nil, at)
		}
	}
}

// ignored says whether a name in a directory is no inventory.
func ignored(name string) bool {
	for _, ext := range []string{".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".ini", ".cfg", ".retry"} {
		if strings.HasSuffix(name, ext) {
			return true
		}
	}
	switch name {
	case "host_vars", "group_vars", "vars_plugins", "plugins", "pegbook.lock": // plugins are run when they are trusted only
		return true
	}
	return strings.HasPrefix(name, ".")
}

// readDir reads the files of a directory in name order, and says how many there were.
func (s *sources) readDir(ctx context.Context, dir string) (files int) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.problems.Add(diag.Position{File: dir}, "", "the directory cannot be read: %v", reason(err))
		return 1 // one problem is enough
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if ignored(e.Name()) {
			continue
		}
		info, err := os.Stat(path)
		switch {
		case err != nil:
			files++
			s.problems.Add(diag.Position{File: path}, "", "the file cannot be read: %v", reason(err))
		case info.IsDir():
			files += s.readDir(ctx, path)
		default:
			files++
			s.readFile(ctx, path, info)
		}
	}
	return files
}

// readFile reads a script, a YAML or JSON file, or an INI file.
func (s *sources) readFile(ctx context.Context, path string, info os.FileInfo) {
	s.file, s.dir = absolute(path), absolute(filepath.Dir(path))
	text, err := os.ReadFile(path)
	if err != nil {
		s.problems.Add(diag.Position{File: path}, "", "the file cannot be read: %v", reason(err))
		return
	}
	s.tell(path, text)
	text, encrypted, ok := vars.OpenFile(path, text, s.keys, s.problems)
	if !ok {
		return
	}
	s.encrypted[path] = encrypted
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) // of editors that mark UTF-8
	ext := strings.ToLower(filepath.Ext(path))
	executable := info.Mode()&0o111 != 0
	switch {
	case bytes.HasPrefix(text, []byte("#!")) && !executable:
		s.problems.Add(diag.Position{File: path}, "chmod +x "+path, "the script is not executable")
	case executable && isProgram(text):
		s.readScript(ctx, path)
	case len(bytes.TrimSpace(text)) == 0:
		s.problems.Add(diag.Position{File: path}, emptyHint, "the inventory is empty")
	case ext == ".yml" || ext == ".yaml" || ext == ".json":
		s.readYAML(ctx, path, text)
	case ext == "" && looksLikeYAML(text):
		s.readYAML(ctx, path, text)
	default:
		s.readINI(path, string(text))
	}
}

// isProgram tells scripts and binaries from data whose permissions are too wide.
func isProgram(text []byte) bool {
	head := text[:min(len(text), 512)]
	return bytes.HasPrefix(head, []byte("#!")) || bytes.IndexByte(head, 0) >= 0
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path // without a working directory there is nothing better
}
