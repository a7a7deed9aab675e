package pegasus

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/pegbook/pegbook/lab/pegasus/internal/release"
)

func (p *process) release() release.Release { return p.of }

// hostName tells the name by which this server is known since 2.6, nil before.
func (p *process) hostName() func() string {
	if p.release() < release.R26 {
		return nil
	}
	name := p.self.Addr().String()
	if p.Env != nil {
		name = cmp.Or(p.Env(HostEnv), name)
	}
	return func() string { return name }
}

// worded answers a remote command as the process's release words it: in 2.6 the
// settings answer in JSON (facts/pegasus.md §3.1, §11.4).
func (p *process) worded(name string, args []string) string {
	if p.release() < release.R26 || strings.HasPrefix(name, "sim.") {
		return p.command(name, args)
	}
	switch name {
	case "server-info":
		return dump(fields{"version": quoted(p.Version.Number), "git_SHA": quoted(p.Version.Commit), "build_type": quoted("Release"),
			"start_time": quoted(p.start.Format("2006-01-02 15:04:05"))})
	case "meta.lb.get_balance_operation_count":
		return operationsJSON(p.command(name, args))
	case "meta.lb.assign_secondary_black_list":
		return blackListJSON(p.command(name, args))
	}
	if !strings.HasPrefix(name, "meta.") && !strings.HasPrefix(name, "nfs.") {
		return p.command(name, args)
	}
	return p.settingJSON(name, args)
}

// settingJSON is the answer of a number or a truth.
func (p *process) settingJSON(name string, args []string) string {
	old := p.command(name, nil)
	if strings.HasPrefix(old, "unknown command") {
		return old
	}
	_, notNumber := strconv.ParseFloat(old, 64)
	if len(args) > 1 {
		return failure(fmt.Sprintf("ERR: invalid arguments '%s', only one argument is acceptable", strings.Join(args, " ")))
	}
	if len(args) == 0 {
		return dump(fields{"error": quoted("ok"), name: quoted(old)})
	}
	value := args[0]
	if notNumber != nil {
		value = strings.ToLower(value)
	} else if strings.EqualFold(value, "DEFAULT") {
		value = "DEFAULT"
	}
	switch reply := p.command(name, []string{value}); {
	case !strings.HasPrefix(reply, "OK") && notNumber != nil:
		return failure(fmt.Sprintf("ERR: invalid arguments, '%s' is not a boolean", args[0]))
	case !strings.HasPrefix(reply, "OK"):
		return failure(fmt.Sprintf("ERR: invalid argument '%s', the value is not acceptable", args[0]))
	case value == "DEFAULT":
		return dump(fields{"error": quoted("ok"), name: json.RawMessage(p.command(name, nil))})
	}
	return dump(fields{"error": quoted("ok")})
}

func failure(text string) string { return dump(fields{"error": quoted(text)}) }

// fields are an object whose values are JSON already.
type fields map[string]json.RawMessage

func quoted(text string) json.RawMessage {
	raw, err := json.Marshal(text)
	if err != nil {
		panic("pegasus: text does not encode: " + err.Error())
	}
	return raw
}

// dump is nlohmann's dump(2): two spaces, keys sorted.
func dump(v fields) string {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic("pegasus: an answer does not encode: " + err.Error())
	}
	return string(raw)
}

// operationsJSON turns "move_pri=1,…" into an object.
func operationsJSON(text string) string {
	if strings.HasPrefix(text, "unknown command") {
		return text
	}
	if strings.HasPrefix(text, "ERR") {
		return failure(text)
	}
	out := fields{}
	for _, part := range strings.Split(text, ",") {
		k, v, _ := strings.Cut(part, "=")
		out[k] = json.RawMessage(v)
	}
	return dump(out)
}

func blackListJSON(text string) string {
	list, got := strings.CutPrefix(text, "get ok: ")
	switch {
	case strings.HasPrefix(text, "unknown command"):
		return text
	case got:
		return dump(fields{"error": quoted("ok"), "assign_secondary_black_list": quoted(list)})
	case strings.HasSuffix(text, " ok"):
		return dump(fields{"error": quoted("ok")})
	}
	return failure("invalid argument, the list should be like 'host1:port1,host2:port2'")
}
