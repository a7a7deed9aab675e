package runner

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/vars"
)

// usedInput is a file or variable that steps have used.
type usedInput struct {
	ID     int    `json:"id"`
	What   string `json:"what"` // "file", "folder" or "var"
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes,omitempty"`
	At     string `json:"at,omitempty"` // where a variable is written
	name   string // the file's path, or the variable
}

// uses are what a step uses besides its task. The zero uses is ready; nil keeps nothing.
type uses struct {
	vars vars.Uses

	mu    sync.Mutex // guards files
	files []string
}

func (u *uses) file(path string) {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !slices.Contains(u.files, path) {
		u.files = append(u.files, path)
	}
}

// track gives the collector of variables; nil where nobody collects.
func (u *uses) track() *vars.Uses {
	if u == nil {
		return nil
	}
	return &u.vars
}

// inputs are the files and variables that the run has used, with their numbers.
type inputs struct {
	mu      sync.Mutex // guards the fields below
	numbers map[string]int
	next    int
	files   map[string]fileState
	values  map[vars.Value]string
}

type fileState struct {
	what, sha string
	size      int64
	changed   int64 // its time
}

// begin takes over what an earlier run has numbered.
func (in *inputs) begin(p *Past) {
	in.numbers, in.files, in.values = map[string]int{}, map[string]fileState{}, map[vars.Value]string{}
	if p == nil {
		return
	}
	for id, u := range p.used {
		in.numbers[u.What+"\x00"+u.name+"\x00"+u.SHA256] = id
		in.next = max(in.next, id)
	}
}

// ids are the numbers of what a step has used. What is new is written down.
func (in *inputs) ids(r *run, all ...*uses) []int {
	in.mu.Lock()
	defer in.mu.Unlock()
	var ids []int
	for _, u := range all {
		if u == nil {
			continue
		}
		for name, v := range u.vars.All() {
			if !waysIn(name) {
				ids = append(ids, in.number(r, usedInput{What: "var", SHA256: in.value(v), At: v.Position().String(), name: name}))
			}
		}
		u.mu.Lock()
		for _, path := range u.files {
			if s, err := in.file(path); err == nil {
				ids = append(ids, in.number(r, usedInput{What: s.what, SHA256: s.sha, Bytes: s.size, name: path}))
			}
		}
		u.mu.Unlock()
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (in *inputs) number(r *run, u usedInput) int {
	key := u.What + "\x00" + u.name + "\x00" + u.SHA256
	if id, ok := in.numbers[key]; ok {
		return id
	}
	in.next++
	u.ID = in.next
	in.numbers[key] = u.ID
	place := u.name
	if u.What == "var" {
		place = "var " + place
	}
	if raw, err := json.Marshal(u); err == nil {
		r.keep(Entry{Kind: EntryUsed, Place: place, State: raw}) //nolint:errcheck // the run ends then; see unfit
	}
	return u.ID
}

// waysIn are variables that say how to get into a host, not what is done there.
func waysIn(name string) bool {
	return slices.Contains(passwordNames(), name) || strings.HasPrefix(name, "ansible_ssh_") && name != "ansible_ssh_host" ||
		slices.Contains([]string{"ansible_user", "ansible_port", "ansible_private_key_file"}, name)
}

// value is the digest of a variable as it is written.
func (in *inputs) value(v vars.Value) string {
	if d, ok := in.values[v]; ok {
		return d
	}
	h := sha256.New()
	v.Digest(h)
	d := hex.EncodeToString(h.Sum(nil))
	in.values[v] = d
	return d
}

// file is the digest of a file's content, or of all that lies in a folder. A folder is read once a run.
func (in *inputs) file(path string) (fileState, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileState{}, err
	}
	known, ok := in.files[path]
	if ok && (info.IsDir() || known.size == info.Size() && known.changed == info.ModTime().UnixNano()) {
		return known, nil
	}
	s := fileState{what: "file", size: info.Size(), changed: info.ModTime().UnixNano()}
	if info.IsDir() {
		s.what = "folder"
		s.sha, s.size, err = folderDigest(path)
	} else {
		var source modules.Source
		if source, err = modules.LocalFile(path); err == nil {
			s.sha, err = source.SHA256()
		}
	}
	if err == nil {
		in.files[path] = s
	}
	return s, err
}

func folderDigest(path string) (string, int64, error) {
	entries, err := modules.LocalTree(path)
	if err != nil {
		return "", 0, err
	}
	h := sha256.New()
	var size int64
	for _, e := range entries {
		sha := ""
		if e.Source != nil {
			if sha, err = e.Source.SHA256(); err != nil {
				return "", 0, err
			}
			size += e.Source.Size()
		}
		fmt.Fprintf(h, "%q %v %q\n", e.Path, e.Mode, sha)
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}
