package pegasus

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// httpReply is an answer; every one is text/plain, JSON or not.
type httpReply struct {
	status   int
	body     string
	location string // of a redirection
}

// param is one key of a query; without a value it is a flag.
type param struct{ key, value string }

func (r httpReply) bytes() []byte {
	reasons := map[int]string{200: "OK", 307: "Temporary Redirect", 400: "Bad Request", 404: "Not Found", 500: "Internal Server Error"}
	location := ""
	if r.location != "" {
		location = "Location: " + r.location + "\r\n"
	}
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%s\r\n%s",
		r.status, reasons[r.status], len(r.body), location, r.body)
}

// serveHTTP answers requests of one connection until it ends. The headers are
// exactly the real server's, which net/http would not leave alone.
func (p *process) serveHTTP(c net.Conn, r *bufio.Reader) {
	lines := textproto.NewReader(r)
	for p.life.Err() == nil {
		line, err := lines.ReadLine()
		if err != nil {
			return
		}
		head, err := lines.ReadMIMEHeader()
		if err != nil {
			return
		}
		if n, err := strconv.ParseInt(head.Get("Content-Length"), 10, 32); err == nil && n > 0 {
			if _, err := io.CopyN(io.Discard, r, n); err != nil {
				return
			}
		}
		words := strings.Fields(line)
		if len(words) != 3 || p.config.Sim().Hung {
			return
		}
		reply := p.httpCall(words[1])
		if p.life.Err() != nil { // the call crashed the process
			return
		}
		if _, err := c.Write(reply.bytes()); err != nil {
			return
		}
	}
}

func (p *process) httpCall(target string) httpReply {
	path, rawQuery, _ := strings.Cut(target, "?")
	query := parseQuery(rawQuery)
	if !p.release().HasPath(path) {
		return notServed(path)
	}
	switch path {
	case "/":
		return okJSON(p.callList())
	case "/version":
		v := p.Version
		if p.role == "collector" {
			v = Version{} // the collector never sets it
		}
		return okJSON(object{{"Version", text(v.Number)}, {"GitCommit", text(v.Commit)}})
	case "/recentStartTime":
		return okJSON(object{{"RecentStartTime", text(p.start.Format("2006-01-02 15:04:05"))}})
	case "/metrics":
		return p.httpMetrics(query)
	case "/perfCounter":
		return p.httpCounter(query)
	case "/config":
		return p.httpConfig(query)
	case "/updateConfig":
		return p.httpUpdate(query)
	}
	if reply, ok := p.actor.http(path, query); ok {
		return reply
	}
	return notServed(path)
}

func notServed(path string) httpReply {
	return plain(404, fmt.Sprintf("service not found for %q", strings.TrimPrefix(path, "/")))
}

func plain(status int, body string) httpReply { return httpReply{status: status, body: body} }

func parseQuery(raw string) []param {
	var out []param
	for _, part := range strings.Split(raw, "&") {
		if part == "" {
			continue
		}
		k, v, _ := strings.Cut(part, "=")
		if clean, err := url.QueryUnescape(v); err == nil {
			v = clean
		}
		out = append(out, param{k, v})
	}
	return out
}

func lookup(query []param, key string) string {
	for _, q := range query {
		if q.key == key {
			return q.value
		}
	}
	return ""
}

// object is a JSON object in the order written; all values of this server's
// answers are strings or objects.
type object []field

type field struct {
	key   string
	value jsonValue
}

// jsonValue is what an answer is made of: text or an object.
type jsonValue interface{ json() string }

type text string

func (t text) json() string { return strconv.Quote(string(t)) }

func (o object) json() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, f := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Quote(f.key) + ":" + f.value.json())
	}
	b.WriteByte('}')
	return b.String()
}

func okJSON(o object) httpReply { return plain(200, o.json()+"\n") }

func (p *process) callList() object {
	all := map[string]string{
		"/": "Lists all supported calls", "/config": "get the details of a specified config",
		"/configs": "list all configs", "/perfCounter": "Gets the value of a perf counter",
		"/pprof/cmdline": "ip:port/pprof/cmdline", "/pprof/growth": "ip:port/pprof/growth",
		"/pprof/heap": "ip:port/pprof/heap", "/pprof/profile": "ip:port/pprof/profile",
		"/pprof/symbol": "ip:port/pprof/symbol", "/recentStartTime": "Gets the server start time.",
		"/updateConfig": "ip:port/updateConfig?<key>=<value>", "/version": "Gets the server version.",
	}
	maps.Copy(all, p.actor.calls())
	var o object
	for _, path := range slices.Sorted(maps.Keys(all)) {
		o = append(o, field{path, text(all[path])})
	}
	return o
}

func (p *process) httpCounter(query []param) httpReply {
	name := lookup(query, "name")
	for _, c := range p.actor.measure() {
		if c.name == name {
			return okJSON(object{{"name", text(name)}, {"value", text(fmt.Sprintf("%.2f", c.value))},
				{"type", text("NUMBER")}, {"description", text(c.help)}})
		}
	}
	return okJSON(nil)
}

func (p *process) httpConfig(query []param) httpReply {
	name := lookup(query, "name")
	value, ok := p.config.Value(name)
	if !ok {
		return plain(200, fmt.Sprintf("ERR_OBJECT_NOT_FOUND: %s is not found", name))
	}
	return okJSON(object{{"name", text(name)}, {"value", text(value)}})
}

// httpUpdate changes a mutable flag. It answers 200 whatever happens.
func (p *process) httpUpdate(query []param) httpReply {
	status := func(s string) httpReply { return okJSON(object{{"update_status", text(s)}}) }
	if len(query) != 1 {
		return status("ERR_INVALID_PARAMETERS: there should be exactly one config to be updated once")
	}
	q := query[0]
	n, err := strconv.ParseInt(q.value, 10, 32)
	if err != nil || n <= 0 {
		return status("ERR_INVALID_PARAMETERS: " + q.value + " is invalid")
	}
	p.told("updateConfig %s=%d", q.key, n)
	if !p.actor.set(q.key, n) {
		return status("ERR_OBJECT_NOT_FOUND: " + q.key + " is not found")
	}
	return status("ERR_OK")
}
