package lab

import (
	"bytes"
	_ "embed" // for the template
	"math"
	"strconv"
	"strings"
	"text/template"
	"time"
)

//go:embed inventory.tmpl
var inventoryTemplate string

// inventory is the inventory file of a lab. dir is what it says of the lab's folder: a path or a
// template. Its own delimiters leave the playbook's alone.
func inventory(s *State, dir string) ([]byte, error) {
	t, err := template.New("inventory").Delims("<<", ">>").Parse(inventoryTemplate)
	if err != nil {
		return nil, err
	}
	type group struct {
		Name  string
		Hosts []Host
	}
	data := struct {
		Dir, SSHPort, ZooKeeper, PackageName, Scale string
		Round                                       time.Duration // of the meta server's balancer
		Quick                                       time.Duration // after a start a restart is a quick one
		MetaInterval                                int           // seconds between two meta servers' restarts
		Groups                                      []group
	}{
		Dir: dir, ZooKeeper: s.ZooKeeper, PackageName: release("{{ .lab_version }}").name() + ".tar.gz", Scale: scale(s),
		Round: time.Duration(10 * s.Scale * float64(time.Second)), Quick: time.Duration(600 * s.Scale * float64(time.Second)), MetaInterval: int(math.Ceil(30 * s.Scale)),
	}
	for _, h := range s.Hosts {
		if n := len(data.Groups); n == 0 || data.Groups[n-1].Name != h.Group {
			data.Groups = append(data.Groups, group{Name: h.Group})
		}
		last := &data.Groups[len(data.Groups)-1]
		last.Hosts = append(last.Hosts, h)
		_, data.SSHPort, _ = strings.Cut(h.SSH, ":")
	}
	var out bytes.Buffer
	err = t.Execute(&out, data)
	return out.Bytes(), err
}

func scale(s *State) string { return strconv.FormatFloat(s.Scale, 'g', -1, 64) }
