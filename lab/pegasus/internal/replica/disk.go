package replica

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pegbook/pegbook/lab/pegasus/internal/config"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

// disk is one replica's directory: .app-info (the table), .init-info (the
// ballot) and data/log, every write since the directory was made.
type disk struct {
	dir string
	tag string
	log *os.File
	// version is the release that writes here.
	version string
	// written is the .init-info that is there; group checks adopt the same again
	// and again, and a write each time is what a large cluster is slow by.
	written initInfo
}

const suffix = ".pegasus"

func repsDir(d config.DataDir) string { return filepath.Join(d.Dir, "reps") }

// place chooses the directory of a new replica: the disk with the fewest.
func place(dirs []config.DataDir, used map[string]int, pid peer.GPID) *disk {
	best := dirs[0]
	for _, d := range dirs {
		if used[d.Tag] < used[best.Tag] {
			best = d
		}
	}
	return &disk{dir: filepath.Join(repsDir(best), pid.String()+suffix), tag: best.Tag}
}

// scan finds the replicas on all disks.
func scan(dirs []config.DataDir) (map[peer.GPID]*disk, error) {
	found := map[peer.GPID]*disk{}
	for _, d := range dirs {
		if err := os.MkdirAll(repsDir(d), 0o755); err != nil {
			return nil, err
		}
		entries, err := os.ReadDir(repsDir(d))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			name, ok := strings.CutSuffix(e.Name(), suffix)
			pid, ok2 := peer.ParseGPID(name)
			if ok && ok2 {
				found[pid] = &disk{dir: filepath.Join(repsDir(d), e.Name()), tag: d.Tag}
			}
		}
	}
	return found, nil
}

type initInfo struct {
	Ballot  int64  `json:"init_ballot"`
	Version string `json:"version,omitempty"`
}

// initInfoWidth is what .init-info is filled up to, so that a new one fits over
// the old: a thousand partitions that start take two thousand ballots, and a new
// file for each was most of what their servers did.
const initInfoWidth = 63

func (d *disk) create(t peer.Table) error {
	if err := os.MkdirAll(filepath.Join(d.dir, "data"), 0o755); err != nil {
		return err
	}
	raw, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.dir, ".app-info"), raw, 0o644); err != nil {
		return err
	}
	return d.setBallot(0) // last: without it a replica is half made and does not open
}

func (d *disk) setBallot(b int64) error {
	info := initInfo{b, d.version}
	if b > 0 && info == d.written {
		return nil
	}
	raw, err := json.Marshal(info)
	if err != nil {
		return err
	}
	path, text := filepath.Join(d.dir, ".init-info"), fmt.Appendf(nil, "%-*s\n", initInfoWidth, raw)
	if d.written == (initInfo{}) {
		err = writeWhole(path, text)
	} else {
		err = overwrite(path, text)
	}
	if err != nil {
		return err
	}
	d.written = info
	return nil
}

// open reads everything back and is ready to append. A last line that was cut
// off by a crash is dropped.
func (d *disk) open() (t peer.Table, ballot int64, data map[string]record, decree int64, err error) {
	if err = readJSON(filepath.Join(d.dir, ".app-info"), &t); err != nil {
		return
	}
	var info initInfo
	if err = readJSON(filepath.Join(d.dir, ".init-info"), &info); err != nil {
		return
	}
	data = map[string]record{}
	d.log, err = os.OpenFile(filepath.Join(d.dir, "data", "log"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return
	}
	size, decree, writes, err := replay(d.log, data)
	switch {
	case err != nil:
	case len(data) > 0 && writes > 2*len(data)+1000: // mostly writes that later ones replaced
		err = d.replace(decree, contents(data))
	default:
		if err = d.log.Truncate(size); err == nil {
			_, err = d.log.Seek(size, 0)
		}
	}
	return t, info.Ballot, data, decree, err
}

func replay(f *os.File, data map[string]record) (size, decree int64, writes int, err error) {
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return size, decree, writes, nil // end, or a line without its end
		}
		var e logged
		if err := json.Unmarshal(line, &e); err != nil {
			return size, decree, writes, fmt.Errorf("%s: %w", f.Name(), err)
		}
		apply(data, e.Op)
		decree = e.Decree
		size += int64(len(line))
		writes++
	}
}

// contents are the writes that make data.
func contents(data map[string]record) []peer.Op {
	ops := make([]peer.Op, 0, len(data))
	for k, v := range data {
		ops = append(ops, peer.Op{Key: []byte(k), Value: v.value, Expire: v.expire})
	}
	return ops
}

type logged struct {
	Decree int64   `json:"n"`
	Op     peer.Op `json:"o"`
}

func (d *disk) append(decree int64, op peer.Op) error {
	raw, err := json.Marshal(logged{decree, op})
	if err != nil {
		return err
	}
	_, err = d.log.Write(append(raw, '\n'))
	return err
}

// replace makes the log exactly these writes, all under one decree.
func (d *disk) replace(decree int64, ops []peer.Op) error {
	if err := d.log.Truncate(0); err != nil {
		return err
	}
	if _, err := d.log.Seek(0, 0); err != nil {
		return err
	}
	w := bufio.NewWriter(d.log)
	enc := json.NewEncoder(w)
	for _, op := range ops {
		if err := enc.Encode(logged{decree, op}); err != nil {
			return err
		}
	}
	return w.Flush()
}

func (d *disk) close() {
	if d.log != nil {
		d.log.Close()
		d.log = nil
	}
}

// trash sets a dropped table's replica aside, as the server does.
func (d *disk) trash() error {
	d.close()
	return os.Rename(d.dir, strings.TrimSuffix(d.dir, suffix)+suffix+".gar")
}

func readJSON[T any](path string, into *T) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// overwrite replaces the contents of a file that is as long as raw, in one write.
func overwrite(path string, raw []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(raw, 0)
	return err
}

func writeWhole(path string, raw []byte) error {
	if err := os.WriteFile(path+".tmp", raw, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// record is one value. Expire is in seconds since 2016, 0 for never.
type record struct {
	value  []byte
	expire int32
}

func apply(data map[string]record, op peer.Op) {
	if op.Delete {
		delete(data, string(op.Key))
		return
	}
	data[string(op.Key)] = record{op.Value, op.Expire}
}
