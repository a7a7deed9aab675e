package builtin

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// Find lists files.
func Find() *modules.Module {
	return modules.Define("find", `List the files of a folder that meet conditions

Registers files, a list with path, size, mode, mtime and the other names of stat for each, matched and
examined. All conditions must hold. A folder that is not there is not an error: skipped_paths says so.
One round trip a level of folders; contains and get_checksum cost more. A file that contains is to look
into may have 4 MiB. Ages count from the last change of the content; the checksum is SHA-256.

    - name: logs of more than two weeks
      find:
        paths: /var/log/app
        patterns: "*.log,*.gz"
        age: 2w
        recurse: true
      register: old

    - name: they go
      file:
        path: "{{ .item.path }}"
        state: absent
      loop: "{{ .old.files }}"`, proposeFind)
}

type findArgs struct {
	Paths       []string `arg:"paths,required,alias=name,alias=path" doc:"the folders to search"`
	Patterns    []string `arg:"patterns,alias=pattern" doc:"patterns of which a file's name matches one, such as *.log; a text is split at commas unless use_regex is set"`
	Excludes    []string `arg:"excludes,alias=exclude" doc:"patterns of which a file's name matches none"`
	UseRegex    bool     `arg:"use_regex" doc:"whether patterns and excludes are regular expressions (Python's) that match from the name's start"`
	Contains    string   `arg:"contains" doc:"a regular expression that a line of the file matches from its start; for files only"`
	WholeFile   bool     `arg:"read_whole_file" doc:"whether contains is searched anywhere in the whole file"`
	FileType    string   `arg:"file_type" default:"file" choices:"any,directory,file,link" doc:"what to list"`
	Age         string   `arg:"age" doc:"at least this old, or with a minus at most: a number with s, m, h, d or w"`
	AgeStamp    string   `arg:"age_stamp" default:"mtime" choices:"mtime" doc:"which time counts"`
	Size        string   `arg:"size" doc:"at least this large, or with a minus at most: a number with b, k, m, g or t"`
	Recurse     bool     `arg:"recurse" doc:"whether to search the folders below as well"`
	Depth       int      `arg:"depth" doc:"how many levels to search at most; 0 is all"`
	Hidden      bool     `arg:"hidden" doc:"whether names that begin with a dot are listed"`
	Follow      bool     `arg:"follow" doc:"whether links to folders are searched"`
	GetChecksum bool     `arg:"get_checksum" doc:"whether each file is read for its checksum"`
}

// foundFiles is what find registers.
type foundFiles struct {
	Files    []foundFile       `json:"files"`
	Matched  int               `json:"matched"`
	Examined int               `json:"examined"`
	Skipped  map[string]string `json:"skipped_paths"`
	Msg      string            `json:"msg"`
}

// foundFile is a file with the names that Ansible has for what is known of it.
type foundFile struct {
	fileBasics
	IsDir    bool   `json:"isdir"`
	IsReg    bool   `json:"isreg"`
	IsLink   bool   `json:"islnk"`
	Checksum string `json:"checksum,omitempty"`
}

func proposeFind(ctx context.Context, call *modules.Call, args findArgs) (*modules.Proposal, error) {
	s := &search{args: args, host: call.Host, now: time.Now(), out: &foundFiles{Files: []foundFile{}, Skipped: map[string]string{}, Msg: "All paths examined"}}
	if err := s.compile(); err != nil {
		return nil, err
	}
	for _, p := range args.Paths {
		if err := s.folder(ctx, path.Clean(p)); err != nil {
			return nil, err
		}
	}
	if err := s.read(ctx); err != nil {
		return nil, err
	}
	for _, f := range s.hits {
		s.out.Files = append(s.out.Files, foundFile{basicsOf(f.Path, f), f.Kind == modules.Directory, f.Kind == modules.Regular, f.Kind == modules.Symlink, f.Sum})
	}
	s.out.Matched = len(s.hits)
	if len(s.out.Skipped) > 0 {
		s.out.Msg = "Not all paths examined, skipped_paths says which"
	}
	return &modules.Proposal{Output: s.out}, nil
}

// search is one find at work.
type search struct {
	args               findArgs
	host               modules.Host
	now                time.Time
	out                *foundFiles
	patterns, excludes []*regexp.Regexp
	contains           *regexp.Regexp
	age                *time.Duration
	size               *int64
	hits               []modules.File
}

func (s *search) compile() error {
	a := &s.args
	for i, p := range a.Paths {
		if !path.IsAbs(p) {
			return &modules.ArgumentError{Arg: "paths", Problem: fmt.Sprintf("paths[%d] is %q", i, p), Hint: "write an absolute path"}
		}
	}
	if a.Contains != "" && a.FileType != "file" {
		return &modules.ArgumentError{Arg: "contains", Problem: "contains looks into files, and file_type is " + a.FileType, Hint: "leave file_type out"}
	}
	var err error
	if s.patterns, err = nameExpressions("patterns", a.Patterns, a.UseRegex); err != nil {
		return err
	}
	if s.excludes, err = nameExpressions("excludes", a.Excludes, a.UseRegex); err != nil {
		return err
	}
	if err := s.compileContains(); err != nil {
		return err
	}
	seconds, err := scaled("age", a.Age, map[string]int64{"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800})
	if err != nil {
		return err
	}
	if seconds != nil {
		age := time.Duration(*seconds) * time.Second
		s.age = &age
	}
	s.size, err = scaled("size", a.Size, map[string]int64{"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40})
	return err
}

func (s *search) compileContains() error {
	if s.args.Contains == "" {
		return nil
	}
	kind, pattern := patternOfLine, `\A(?:`+s.args.Contains+")"
	if s.args.WholeFile {
		kind, pattern = patternOfText, "(?-s:"+s.args.Contains+")"
	}
	var err error
	s.contains, err = compilePattern("contains", pattern, kind)
	return err
}

// nameExpressions makes patterns of names into expressions.
func nameExpressions(arg string, patterns []string, regex bool) ([]*regexp.Regexp, error) {
	var list []*regexp.Regexp
	for _, p := range patterns {
		parts := []string{p}
		if !regex {
			parts = strings.Split(p, ",")
		}
		for _, part := range parts {
			expression := `\A(?:` + part + ")"
			if !regex {
				expression = wildcard(strings.TrimSpace(part))
			}
			re, err := compilePattern(arg, expression, patternOfLine)
			if err != nil {
				return nil, err
			}
			list = append(list, re)
		}
	}
	return list, nil
}

// wildcard is a pattern of the shell as an expression, as Python's fnmatch has it: * matches all, a bracket
// without an end is text, and ! at its start means none of these.
func wildcard(pattern string) string {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteByte('.')
		case '[':
			end := strings.IndexByte(pattern[min(i+2, len(pattern)):], ']')
			if end < 0 {
				b.WriteString(`\[`)
				continue
			}
			class := strings.ReplaceAll(pattern[i+1:i+2+end], `\`, `\\`)
			if class[0] == '!' {
				class = "^" + class[1:]
			} else if class[0] == '^' {
				class = `\` + class
			}
			b.WriteString("[" + class + "]")
			i += 2 + end
		default:
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	return b.String() + `\Z`
}

// scaled reads a number with a unit; nil for an empty text.
func scaled(arg, text string, units map[string]int64) (*int64, error) {
	if text == "" {
		return nil, nil
	}
	parts := regexp.MustCompile(`^(-?\d+)([a-z]?)$`).FindStringSubmatch(strings.ToLower(text))
	if parts != nil {
		unit, known := units[parts[2]]
		if parts[2] == "" {
			unit, known = 1, true
		}
		n, err := strconv.ParseInt(parts[1], 10, 64)
		if known && err == nil && n < 1<<62/unit && n > -(1<<62/unit) {
			n *= unit
			return &n, nil
		}
	}
	names := slices.SortedFunc(maps.Keys(units), func(a, b string) int { return cmp.Compare(units[a], units[b]) })
	return nil, &modules.ArgumentError{Arg: arg, Problem: fmt.Sprintf("%s is %q", arg, text),
		Hint: "write a whole number with one of " + strings.Join(names, ", ") + " behind it"}
}

// maxDepth ends a search that links lead in circles; no path is that deep.
const maxDepth = 256

// folder searches a folder, one round trip a level.
func (s *search) folder(ctx context.Context, root string) error {
	depth := s.args.Depth
	switch {
	case !s.args.Recurse:
		depth = 1
	case depth <= 0:
		depth = maxDepth
	}
	level := []modules.Query{{Path: root, Follow: true, List: true}}
	for n := 0; n < depth && len(level) > 0; n++ {
		files, err := s.list(ctx, level)
		if err != nil {
			return err
		}
		if n == 0 && files[0].Kind != modules.Directory {
			s.out.Skipped[root] = fmt.Sprintf("'%s' is not a directory", root)
			return nil
		}
		level = nil
		for _, f := range files {
			for _, entry := range f.Entries {
				s.examine(entry)
				if entry.Kind == modules.Directory || entry.Kind == modules.Symlink && s.args.Follow {
					level = append(level, modules.Query{Path: entry.Path, List: true, Follow: s.args.Follow})
				}
			}
		}
		if s.out.Examined > maxWalk {
			return fmt.Errorf("%s holds more than %d files; search deeper folders", root, maxWalk)
		}
	}
	return nil
}

// list reads the folders of a level. One that may not be read is skipped, at the cost of looking at each.
func (s *search) list(ctx context.Context, level []modules.Query) ([]modules.File, error) {
	files, err := s.host.Look(ctx, level...)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return files, err
	}
	if len(level) == 1 {
		s.out.Skipped[level[0].Path] = err.Error()
		return []modules.File{{Path: level[0].Path, Kind: modules.Directory}}, nil
	}
	half := len(level) / 2
	first, err := s.list(ctx, level[:half])
	if err != nil {
		return nil, err
	}
	second, err := s.list(ctx, level[half:])
	return append(first, second...), err
}

// examine keeps a file that meets the conditions that need no reading.
func (s *search) examine(f modules.File) {
	s.out.Examined++
	name := path.Base(f.Path)
	wanted := map[string]modules.FileKind{"file": modules.Regular, "directory": modules.Directory, "link": modules.Symlink}[s.args.FileType]
	switch {
	case strings.HasPrefix(name, ".") && !s.args.Hidden,
		wanted != "" && f.Kind != wanted,
		len(s.patterns) > 0 && !matchesAny(s.patterns, name),
		matchesAny(s.excludes, name),
		!s.rightAge(f),
		f.Kind == modules.Regular && !s.rightSize(f):
		return
	}
	s.hits = append(s.hits, f)
}

func matchesAny(list []*regexp.Regexp, name string) bool {
	for _, re := range list {
		if re.MatchString(name) {
			return true
		}
	}
	return false
}

func (s *search) rightAge(f modules.File) bool {
	if s.age == nil {
		return true
	}
	age := s.now.Sub(f.Modified)
	if *s.age < 0 {
		return age <= -*s.age
	}
	return age >= *s.age
}

func (s *search) rightSize(f modules.File) bool {
	switch {
	case s.size == nil:
		return true
	case *s.size < 0:
		return f.Size <= -*s.size
	}
	return f.Size >= *s.size
}

const (
	// maxLookedInto is the longest file that contains looks into.
	maxLookedInto = 4 << 20
	// batchLookedInto bounds the content of one round trip.
	batchLookedInto = 32 << 20
)

// read looks into the files that are left, where the task asks for that: several a round trip.
func (s *search) read(ctx context.Context) error {
	if s.contains == nil && !s.args.GetChecksum {
		return nil
	}
	hits := s.hits
	s.hits = nil
	for len(hits) > 0 {
		var queries []modules.Query
		for total := int64(0); len(queries) < len(hits) && len(queries) < 1000 && (total == 0 || total < batchLookedInto); {
			f := hits[len(queries)]
			q := modules.Query{Path: f.Path, Sum: s.args.GetChecksum && f.Kind == modules.Regular}
			if s.contains != nil {
				q.Content = maxLookedInto
				total += min(f.Size, maxLookedInto)
			}
			queries = append(queries, q)
		}
		files, err := s.host.Look(ctx, queries...)
		if err != nil {
			return err
		}
		for i, f := range files {
			if f.Truncated {
				return fmt.Errorf("%s has %d bytes, more than the %d that contains looks into; give size: -4m or other conditions", f.Path, f.Size, maxLookedInto)
			}
			if s.contains == nil || s.holds(f.Content) {
				hits[i].Sum = f.Sum
				s.hits = append(s.hits, hits[i])
			}
		}
		hits = hits[len(files):]
	}
	return nil
}

func (s *search) holds(content []byte) bool {
	if s.args.WholeFile {
		return s.contains.Match(content)
	}
	for _, line := range bytes.SplitAfter(content, []byte("\n")) {
		if len(line) > 0 && s.contains.Match(line) {
			return true
		}
	}
	return false
}
