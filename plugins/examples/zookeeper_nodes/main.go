// Command zookeeper_nodes is an inventory source as a site would write it: the hosts are those whose processes have
// registered themselves in ZooKeeper.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/modules/zksession"
	"github.com/pegbook/pegbook/plugins"
)

func main() { plugins.Serve(source()) }

// source is the source.
func source() *plugins.Source {
	return plugins.DefineSource("zookeeper_nodes", `Hosts whose processes are registered in ZooKeeper

Many services make an ephemeral node in ZooKeeper for each of their processes. This source reads them: a group for each
path, a host for each node below it. Where the node tells host and port read says: in its name, as Druid does
(host:port), in its data (host:port), or in fields of its data, which is JSON. Data may be compressed with gzip.

A host's variable zookeeper_ports has the ports of its processes by group. A host is there while one of its processes
is: before hosts are stopped for longer, write the inventory down (pegbook inventory list --json).

    # druid.zk.yml
    plugin: zookeeper_nodes
    servers: [zk1:2181, zk2:2181, zk3:2181]
    groups:
      coordinator: /druid/internal-discovery/COORDINATOR
      historical: /druid/internal-discovery/HISTORICAL
      broker: /druid/internal-discovery/BROKER
    parent: druid`, answer)
}

type options struct {
	Servers []string          `arg:"servers,required" doc:"the ZooKeeper servers, host:port each"`
	Groups  map[string]string `arg:"groups,required" doc:"names of groups, and for each the path below which its processes are registered"`
	Read    string            `arg:"read" default:"name" choices:"name,data,json" doc:"what of a node is host:port: its name, its data, or fields of its data"`
	Host    string            `arg:"host_field" default:"host" doc:"the field of the host, with read: json; dots lead into objects"`
	Port    string            `arg:"port_field" default:"port" doc:"the field of the port, with read: json"`
	Parent  string            `arg:"parent" doc:"a group above the others"`
	Missing string            `arg:"missing" default:"fail" choices:"fail,empty" doc:"what a path that is not there means: a mistake, or no process yet"`
	Auth    string            `arg:"auth,secret" doc:"user:password, where the nodes are not for everybody (scheme digest)"`
	Timeout time.Duration     `arg:"timeout" default:"10s" doc:"how long the servers may take to give a session"`
}

// answer reads the nodes.
func answer(ctx context.Context, _ plugins.Question, o options) (*plugins.Inventory, error) {
	for _, name := range slices.Sorted(maps.Keys(o.Groups)) {
		if p := o.Groups[name]; !strings.HasPrefix(p, "/") || path.Clean(p) != p {
			return nil, &modules.ArgumentError{Arg: "groups", Problem: fmt.Sprintf("argument groups: %q of %s is no path", p, name), Hint: "a path begins with / and does not end with it"}
		}
	}
	t, err := connect(ctx, o)
	if err != nil {
		return nil, err
	}
	defer t.close()
	inv := &plugins.Inventory{}
	ports := map[string]map[string][]int{}
	for _, name := range slices.Sorted(maps.Keys(o.Groups)) {
		if err := t.group(inv.Group(name), o.Groups[name], ports); err != nil {
			return nil, err
		}
	}
	for _, host := range slices.Sorted(maps.Keys(ports)) {
		inv.Host(host).Vars.Set("zookeeper_ports", ports[host])
	}
	if o.Parent != "" {
		inv.Group(o.Parent).Children = slices.Sorted(maps.Keys(o.Groups))
	}
	return inv, nil
}

// tree is the nodes of an ensemble.
type tree struct {
	options
	children func(path string) ([]string, error)
	data     func(path string) ([]byte, error)
	exists   func(path string) (bool, error)
	close    func()
}

func connect(ctx context.Context, o options) (*tree, error) {
	servers := zksession.SplitServers(o.Servers)
	conn, closed, err := zksession.Connect(ctx, zksession.Options{Dial: new(net.Dialer).DialContext, Servers: servers, Wait: o.Timeout})
	if err != nil {
		return nil, fmt.Errorf("ZooKeeper %s: %w", strings.Join(servers, ","), err)
	}
	if o.Auth != "" {
		if err := conn.AddAuth("digest", []byte(o.Auth)); err != nil {
			closed()
			return nil, fmt.Errorf("ZooKeeper refuses auth: %w", err)
		}
	}
	return &tree{
		options:  o,
		children: func(p string) ([]string, error) { names, _, err := conn.Children(p); return names, err },
		data:     func(p string) ([]byte, error) { data, _, err := conn.Get(p); return data, err },
		exists:   func(p string) (bool, error) { there, _, err := conn.Exists(p); return there, err },
		close:    closed,
	}, nil
}

// group reads the processes of one path.
func (t *tree) group(g *plugins.Group, dir string, ports map[string]map[string][]int) error {
	names, err := t.children(dir)
	if err != nil {
		switch there, existsErr := t.exists(dir); {
		case existsErr != nil || there:
			return fmt.Errorf("read %s: %w", dir, err)
		case t.Missing == "empty":
			return nil
		}
		return &modules.ArgumentError{Arg: "groups", Problem: fmt.Sprintf("argument groups: there is no node %s for %s", dir, g.Name),
			Hint: "has any of its processes been started yet? missing: empty allows that"}
	}
	slices.Sort(names)
	for _, name := range names {
		host, port, err := t.process(path.Join(dir, name))
		if err != nil {
			return fmt.Errorf("node %s: %w", path.Join(dir, name), err)
		}
		if host == "" {
			continue
		}
		if ports[host] == nil {
			ports[host] = map[string][]int{}
		}
		if !slices.Contains(g.Hosts, host) {
			g.Hosts = append(g.Hosts, host)
		}
		ports[host][g.Name] = append(ports[host][g.Name], port)
	}
	return nil
}

// process is where a node says that its process is; no host: the node is gone by now.
func (t *tree) process(node string) (host string, port int, err error) {
	if t.Read == "name" {
		return address(path.Base(node))
	}
	data, err := t.data(node)
	if err != nil {
		if there, existsErr := t.exists(node); existsErr == nil && !there {
			return "", 0, nil
		}
		return "", 0, err
	}
	if data, err = unpacked(data); err != nil {
		return "", 0, err
	}
	if t.Read == "data" {
		return address(strings.TrimSpace(string(data)))
	}
	if err := field(data, t.Host, &host); err != nil {
		return "", 0, err
	}
	return host, port, field(data, t.Port, &port)
}

func address(text string) (string, int, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", 0, fmt.Errorf("%.100q is not host:port; read says where it stands", text)
	}
	n, err := strconv.Atoi(port)
	if err != nil || host == "" {
		return "", 0, fmt.Errorf("%.100q is not host:port; read says where it stands", text)
	}
	return host, n, nil
}

// maxData bounds a node's data, which ZooKeeper itself bounds to 1 MiB as it is sent.
const maxData = 16 << 20

// unpacked is data without the compression that Druid applies by default.
func unpacked(data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		return data, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxData+1))
	if err == nil && len(plain) > maxData {
		err = errors.New("its data is too long")
	}
	return plain, err
}

// field reads a field of JSON into a text or a number.
func field(data []byte, dotted string, into any) error {
	raw := json.RawMessage(data)
	for name := range strings.SplitSeq(dotted, ".") {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(raw, &fields); err != nil {
			return fmt.Errorf("its data is no JSON object with the field %s: %.100q", dotted, data)
		}
		if raw = fields[name]; raw == nil {
			return fmt.Errorf("its data has no field %s: %.200s", dotted, data)
		}
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("the field %s of its data is %.100s", dotted, raw)
	}
	return nil
}
