package builtin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// URI talks to a web service.
func URI() *modules.Module {
	return modules.Define("uri", `Make a request to a web service

The request goes out from the managed host's network, through pegbook's own connection to it. Registers
status, the headers under their names in lower case with _ for -, json where the answer is JSON, and
content with return_content; also of a request that fails, so that until can wait for a service. With dest
the answer goes to a file, which is replaced when it differs. GET, HEAD and OPTIONS only read, so they are
made in check mode as well; the outcome of any other method is unknown there. Without dest the task never
counts as changed; changed_when knows better.

    - name: the service is there
      uri:
        url: http://127.0.0.1:8080/health
        status_code: [200, 204]
      register: health
      until: eq .health.status 200
      retries: 10
      delay: 3

    - name: a new user
      uri:
        url: https://api.example.org/users
        method: POST
        body_format: json
        body: {name: pegasus, roles: [admin]}
        status_code: 201
        url_username: admin
        url_password: "{{ .api_password }}"
        force_basic_auth: true
      changed_when: true`, proposeURI)
}

type uriArgs struct {
	httpArgs
	Method          string          `arg:"method" default:"GET" doc:"the method, in capitals"`
	Body            json.RawMessage `arg:"body" doc:"what to send: text, or with body_format a mapping or list"`
	BodyFormat      string          `arg:"body_format" default:"raw" choices:"raw,json,form-urlencoded" doc:"how body is written, and the Content-Type that goes with it"`
	Src             string          `arg:"src,file=files" doc:"a file to send in place of body, looked for in files/; with remote_src on the host"`
	RemoteSrc       bool            `arg:"remote_src" doc:"whether src is a file of the managed host"`
	StatusCode      []int           `arg:"status_code" default:"200" doc:"the answers that are no failure"`
	ReturnContent   bool            `arg:"return_content" doc:"whether to register the answer's text (content); at most 16 MiB"`
	Dest            string          `arg:"dest,path" doc:"a file on the host for the answer; in a folder it keeps the name that the server gives it"`
	Force           bool            `arg:"force" doc:"whether to ask for the answer even when nothing is newer than dest"`
	Creates         string          `arg:"creates,path" doc:"nothing is done when this path is there"`
	Removes         string          `arg:"removes,path" doc:"nothing is done unless this path is there"`
	FollowRedirects string          `arg:"follow_redirects" default:"safe" choices:"all,yes,safe,none,no,urllib2" doc:"which redirections are followed; safe: of GET and HEAD"`
	Timeout         time.Duration   `arg:"timeout" default:"30" doc:"how long nothing may come"`
	Username        string          `arg:"url_username,alias=user" doc:"user for basic authentication"`
	Password        string          `arg:"url_password,secret,alias=password" doc:"password for basic authentication"`
	ownership
}

// maxAnswer is the longest answer that becomes a variable.
const maxAnswer = 16 << 20

// answered is what uri registers, beside the headers.
type answered struct {
	URL        string          `json:"url,omitempty"`
	Status     int             `json:"status"`
	Msg        string          `json:"msg"`
	Redirected bool            `json:"redirected"`
	Elapsed    float64         `json:"elapsed"` // seconds
	JSON       json.RawMessage `json:"json,omitempty"`
	Content    *string         `json:"content,omitempty"`
	Path       string          `json:"path,omitempty"`
	// Cookies are those that the server sets.
	Cookies       map[string]string `json:"cookies"`
	CookiesString string            `json:"cookies_string"`

	headers http.Header
}

// plainAnswer is answered without its method.
type plainAnswer answered

// MarshalJSON writes the headers beside the fields, which come first.
func (a *answered) MarshalJSON() ([]byte, error) {
	raw, err := json.Marshal((*plainAnswer)(a))
	if err != nil {
		return nil, err
	}
	fields := map[string]json.RawMessage{}
	for name, values := range a.headers {
		if fields[strings.ReplaceAll(strings.ToLower(name), "-", "_")], err = json.Marshal(strings.Join(values, ", ")); err != nil {
			return nil, err
		}
	}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}

// asking is one uri at work.
type asking struct {
	args uriArgs
	web  *web
	out  *answered
	body modules.Source
	send http.Header
}

func proposeURI(ctx context.Context, call *modules.Call, args uriArgs) (*modules.Proposal, error) {
	if strings.Trim(args.Method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || args.Method == "" {
		return nil, &modules.ArgumentError{Arg: "method", Problem: fmt.Sprintf("method is %q", args.Method), Hint: "write one word in capitals, such as POST"}
	}
	q := &asking{args: args, out: &answered{Cookies: map[string]string{}}, send: http.Header{}}
	q.web = &web{args: args.httpArgs, host: call.Host, user: args.Username, password: args.Password, timeout: args.Timeout, redirects: args.FollowRedirects}
	if _, err := q.web.address(); err != nil {
		return nil, err
	}
	conditions := runningArgs{Creates: args.Creates, Removes: args.Removes}
	reason, err := conditions.nothingToDo(ctx, call.Host)
	if err != nil {
		return nil, err
	}
	if reason != "" {
		return &modules.Proposal{Skip: true, Message: reason}, nil
	}
	if q.body, err = q.content(ctx, call); err != nil {
		return nil, err
	}
	if readingMethod(args.Method) {
		return q.read(ctx, call)
	}
	// A PUT or DELETE comes to the same however often it is made.
	once := args.Creates == "" && args.Removes == "" && args.Method != "PUT" && args.Method != "DELETE"
	p := &modules.Proposal{Output: q.out, Once: once}
	if args.Dest != "" {
		p.Diff = []modules.Diff{{Subject: args.Dest, Note: fmt.Sprintf("is written from the answer to %s %s", args.Method, args.URL)}}
	}
	p.Do = func(ctx context.Context, host modules.Host) error {
		q.web.host = host
		written, err := q.ask(ctx, host)
		if err != nil || written == nil || written.Do == nil {
			return err
		}
		return written.Do(ctx, host)
	}
	return p, nil
}

// read makes a request that only reads. What is wrong with the answer is the task's to say, so that it
// registers what came.
func (q *asking) read(ctx context.Context, call *modules.Call) (*modules.Proposal, error) {
	p, err := q.ask(ctx, call.Host)
	if p == nil {
		p = &modules.Proposal{}
	}
	p.Output = q.out
	if err != nil && q.out.Status != 0 {
		p.Do = func(context.Context, modules.Host) error { return err }
		return p, nil
	}
	return p, err
}

// content is what the request sends; nil: nothing.
func (q *asking) content(ctx context.Context, call *modules.Call) (modules.Source, error) {
	given := q.args.Body != nil && string(q.args.Body) != "null"
	switch {
	case q.args.Src != "" && given:
		return nil, &modules.ArgumentError{Arg: "src", Problem: "body and src exclude each other", Hint: "give one of them"}
	case q.args.Src != "" && q.args.RemoteSrc:
		return remoteBody(ctx, call.Host, q.args.Src)
	case q.args.Src != "":
		return call.Open("files", q.args.Src)
	case !given:
		return nil, nil
	}
	switch q.args.BodyFormat {
	case "json":
		q.send.Set("Content-Type", "application/json")
	case "form-urlencoded":
		q.send.Set("Content-Type", "application/x-www-form-urlencoded")
		if q.args.Body[0] != '"' {
			form, err := formOf(q.args.Body)
			return modules.Bytes("body", []byte(form)), err
		}
	}
	text, err := contentText(q.args.Body)
	return modules.Bytes("body", text), err
}

func remoteBody(ctx context.Context, host modules.Host, p string) (modules.Source, error) {
	if !path.IsAbs(p) {
		return nil, &modules.ArgumentError{Arg: "src", Problem: "src is a relative path", Hint: "with remote_src, write an absolute one"}
	}
	files, err := host.Look(ctx, modules.Query{Path: p, Follow: true, Content: maxEdited})
	switch {
	case err != nil:
		return nil, err
	case files[0].Kind != modules.Regular:
		return nil, &modules.FileError{Op: "send", Path: p, Kind: fs.ErrNotExist, Text: "no such file on the host"}
	case files[0].Truncated:
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that are sent", p, files[0].Size, maxEdited)
	}
	return modules.Bytes(p, files[0].Content), nil
}

// formOf writes a mapping, or a list of pairs, as a form.
func formOf(raw json.RawMessage) (string, error) {
	wrong := &modules.ArgumentError{Arg: "body", Problem: "body cannot be written as a form", Hint: "write a mapping of names to texts or lists of them"}
	var pairs [][2]json.RawMessage
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) == nil {
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			quoted, err := json.Marshal(name)
			if err != nil {
				return "", err
			}
			pairs = append(pairs, [2]json.RawMessage{quoted, fields[name]})
		}
	} else if json.Unmarshal(raw, &pairs) != nil {
		return "", wrong
	}
	var parts []string
	for _, pair := range pairs {
		var values []json.RawMessage
		if json.Unmarshal(pair[1], &values) != nil {
			values = []json.RawMessage{pair[1]}
		}
		for _, value := range values {
			parts = append(parts, url.QueryEscape(plain(pair[0]))+"="+url.QueryEscape(plain(value)))
		}
	}
	return strings.Join(parts, "&"), nil
}

// ask makes the request and reads the answer. The proposal is that of writing dest, nil where there is none.
func (q *asking) ask(ctx context.Context, host modules.Host) (*modules.Proposal, error) {
	dest := modules.File{}
	if q.args.Dest != "" {
		files, err := host.Look(ctx, modules.Query{Path: path.Clean(q.args.Dest), Follow: true})
		if err != nil {
			return nil, err
		}
		if dest = files[0]; dest.Kind == modules.Regular && q.args.Method == http.MethodGet && !q.args.Force {
			q.send.Set("If-Modified-Since", dest.Modified.UTC().Format(http.TimeFormat))
		}
	}
	began := time.Now()
	a, err := q.web.do(ctx, request{q.args.Method, q.body, q.send})
	q.out.Elapsed = time.Since(began).Round(time.Millisecond).Seconds()
	if err != nil {
		return nil, q.unanswered(ctx, err)
	}
	defer a.Close()
	q.keep(a)
	var source *spooled
	// That nothing is new is no failure where that was the question.
	unchanged := a.StatusCode == http.StatusNotModified && q.send.Get("If-Modified-Since") != ""
	right := slices.Contains(q.args.StatusCode, a.StatusCode) || unchanged
	if q.args.Dest != "" && right && !unchanged {
		if source, err = spool(q.out.URL, a.Body); err != nil {
			return nil, err
		}
		err = q.interpret(a, source)
	} else {
		err = q.take(a, right)
	}
	switch {
	case err != nil:
		return nil, err
	case !right:
		q.out.Msg = fmt.Sprintf("Status code was %d and not %s: %s", a.StatusCode, codes(q.args.StatusCode), q.out.Msg)
		return nil, fmt.Errorf("%s: %s", q.out.URL, q.out.Msg)
	case source == nil:
		q.out.Path = dest.Path
		return q.stays(dest)
	}
	return q.write(ctx, host, a, dest, source)
}

// stays is a file that the server says is still right; nil where there is none.
func (q *asking) stays(dest modules.File) (*modules.Proposal, error) {
	attributes, diffs := q.args.differ(dest)
	if dest.Kind != modules.Regular || len(diffs) == 0 {
		return nil, nil
	}
	return &modules.Proposal{Diff: diffs, Do: apply(modules.Change{Kind: modules.SetAttributes, Path: dest.Path, Attributes: attributes})}, nil
}

// unanswered is a request that got no answer: status -1, so that until can wait for the service.
func (q *asking) unanswered(ctx context.Context, err error) error {
	if ctx.Err() == nil && !isUnreachable(err) && !isUnpredicted(err) {
		q.out.Status, q.out.Msg = -1, fmt.Sprintf("Status code was -1 and not %s: Request failed: %v", codes(q.args.StatusCode), err)
	}
	return err
}

func codes(list []int) string {
	texts := make([]string, len(list))
	for i, code := range list {
		texts[i] = strconv.Itoa(code)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// keep takes what stands at the head of the answer.
func (q *asking) keep(a *answer) {
	q.out.Status, q.out.headers, q.out.Msg = a.StatusCode, a.Header, answerText(a)
	q.out.URL = a.Request.URL.String()
	asked, err := q.web.address()
	q.out.Redirected = err == nil && q.out.URL != asked.String()
	var all []string
	for _, c := range a.Cookies() {
		q.out.Cookies[c.Name] = c.Value
		all = append(all, c.Name+"="+c.Value)
	}
	q.out.CookiesString = strings.Join(all, "; ")
}

// take reads the answer into memory where something of it is registered.
func (q *asking) take(a *answer, right bool) error {
	if !q.args.ReturnContent && !isJSON(a) && right {
		return nil
	}
	content, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("%s: %w", q.out.URL, err)
	}
	if len(content) > maxAnswer {
		return fmt.Errorf("%s: the answer has more than %d bytes; use dest", q.out.URL, maxAnswer)
	}
	q.register(a, content)
	return nil
}

// interpret registers what a file holds, where that is short enough.
func (q *asking) interpret(a *answer, source *spooled) error {
	if source.size > maxAnswer {
		if q.args.ReturnContent {
			return fmt.Errorf("%s: the answer has more than %d bytes; leave return_content out", q.out.URL, maxAnswer)
		}
		return nil
	}
	if !q.args.ReturnContent && !isJSON(a) {
		return nil
	}
	content, err := readSource(source)
	q.register(a, content)
	return err
}

func (q *asking) register(a *answer, content []byte) {
	if isJSON(a) && json.Valid(content) {
		q.out.JSON = bytes.Clone(content)
	}
	if q.args.ReturnContent {
		text := strings.ToValidUTF8(string(content), "\ufffd")
		q.out.Content = &text
	}
}

// isJSON says whether the server calls its answer JSON.
func isJSON(a *answer) bool {
	kind, _, _ := strings.Cut(strings.ToLower(a.Header.Get("Content-Type")), ";")
	_, sub, _ := strings.Cut(strings.TrimSpace(kind), "/")
	if i := strings.LastIndexByte(sub, '+'); i >= 0 {
		sub = sub[i+1:]
	}
	return sub == "json" || sub == "javascript"
}

// write proposes the file that the answer goes to.
func (q *asking) write(ctx context.Context, host modules.Host, a *answer, dest modules.File, source modules.Source) (*modules.Proposal, error) {
	w := writing{dest: q.args.Dest, source: source, ownership: q.args.ownership}
	if dest.Kind == modules.Directory {
		w.base = nameOf(a)
	}
	f, inFolder, err := w.look(ctx, host)
	if err != nil {
		return nil, err
	}
	q.out.Path = f.Path
	return w.over(f, inFolder, &written{})
}
