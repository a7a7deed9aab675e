package builtin

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// WaitFor waits for a port or a path.
func WaitFor() *modules.Module {
	return modules.Define("wait_for", `Wait until a port or a path is there, or is gone

The port is tried from the managed host. started and present mean the same, and so do stopped and absent;
drained waits until nobody is connected to a local port any more. An open port says that a process
listens, not that it is ready: for the health of a cluster use wait_healthy. In check mode a task that
would have to wait is unknown.

    - name: the server listens
      wait_for:
        port: 34601
        timeout: 1m

    - name: the log says so
      wait_for:
        path: /var/log/app.log
        search_regex: 'ready in \d+ ms'`, proposeWaitFor)
}

type waitForArgs struct {
	Host    string        `arg:"host" default:"127.0.0.1" doc:"where the port is, as seen from the managed host"`
	Port    int           `arg:"port" min:"1" max:"65535" doc:"the TCP port"`
	Path    string        `arg:"path,path" doc:"a file or folder, in place of port"`
	State   string        `arg:"state" default:"started" choices:"started,present,stopped,absent,drained" doc:"what to wait for"`
	Regex   string        `arg:"search_regex" doc:"wait until what the file holds, or the port sends, matches this"`
	Timeout time.Duration `arg:"timeout" default:"300" doc:"how long to wait at most"`
	Delay   time.Duration `arg:"delay" default:"0" doc:"how long to wait before looking the first time"`
	Sleep   time.Duration `arg:"sleep" default:"1" doc:"how long to wait between looks"`
	Connect time.Duration `arg:"connect_timeout" default:"5" doc:"how long one attempt to connect may take"`
	Msg     string        `arg:"msg" doc:"what to say when the time is up"`
}

// waited is what wait_for registers.
type waited struct {
	Elapsed float64  `json:"elapsed"` // seconds
	State   string   `json:"state"`
	Port    int      `json:"port,omitempty"`
	Path    string   `json:"path,omitempty"`
	Groups  []string `json:"match_groups,omitempty"`
}

// waiting is one wait_for at work.
type waiting struct {
	waitForArgs
	regex *regexp.Regexp
	out   *waited
}

func proposeWaitFor(ctx context.Context, call *modules.Call, args waitForArgs) (*modules.Proposal, error) {
	if (args.Port == 0) == (args.Path == "") {
		return nil, &modules.ArgumentError{Arg: "port", Problem: "wait_for waits for a port or a path", Hint: "give one of them; pause only lets time pass"}
	}
	w := &waiting{waitForArgs: args, out: &waited{State: args.State, Port: args.Port, Path: args.Path}}
	if args.Regex != "" {
		var err error
		if w.regex, err = regexp.Compile("(?m)" + args.Regex); err != nil {
			return nil, &modules.ArgumentError{Arg: "search_regex", Problem: err.Error(), Hint: "write a regular expression as Go's regexp reads it"}
		}
	}
	missing, err := w.probe(ctx, call.Host)
	if err != nil {
		return nil, err
	}
	if missing == "" && args.Delay == 0 {
		return &modules.Proposal{Output: w.out}, nil
	}
	return &modules.Proposal{
		Output:   w.out,
		Waits:    missing != "",
		Expects:  args.Delay,
		Predicts: predictsIf(missing == ""),
		Do: func(ctx context.Context, host modules.Host) error {
			started := time.Now()
			defer func() { w.out.Elapsed = time.Since(started).Round(time.Millisecond).Seconds() }()
			return w.wait(ctx, host, call)
		},
	}, nil
}

// predictsIf is an empty prediction: what is already so need not be waited for in check mode.
func predictsIf(met bool) map[string]string {
	if met {
		return map[string]string{}
	}
	return nil
}

func (w *waiting) wait(ctx context.Context, host modules.Host, call *modules.Call) error {
	ctx, stop := context.WithTimeoutCause(ctx, w.Timeout, errTooLong)
	defer stop()
	missing := "nobody has looked yet"
	err := sleep(ctx, w.Delay)
	for err == nil {
		var found string
		if found, err = w.probe(ctx, host); err != nil {
			break
		}
		if missing = found; missing == "" {
			return nil
		}
		call.Note("waits for %s: %s", w.what(), missing)
		err = sleep(ctx, max(w.Sleep, 10*time.Millisecond))
	}
	if !errors.Is(context.Cause(ctx), errTooLong) {
		return err
	}
	if w.Msg != "" {
		return fmt.Errorf("%s (%s after %s)", w.Msg, missing, w.Timeout)
	}
	return fmt.Errorf("waited %s for %s: %s", w.Timeout, w.what(), missing)
}

var errTooLong = errors.New("the time is up")

func (w *waiting) what() string {
	if w.Path != "" {
		return fmt.Sprintf("%s to be %s", w.Path, w.State)
	}
	return fmt.Sprintf("port %d of %s to be %s", w.Port, w.Host, w.State)
}

// probe looks once; an empty answer means that there is nothing to wait for any more.
func (w *waiting) probe(ctx context.Context, host modules.Host) (missing string, err error) {
	gone := w.State == "stopped" || w.State == "absent"
	switch {
	case w.State == "drained" && w.Path == "":
		return w.probeDrained(ctx, host)
	case w.Path != "":
		return w.probePath(ctx, host, gone)
	}
	return w.probePort(ctx, host, gone)
}

// maxSearched is how much of a file or answer is searched.
const maxSearched = 4 << 20

func (w *waiting) probePath(ctx context.Context, host modules.Host, gone bool) (string, error) {
	q := modules.Query{Path: w.Path, Follow: true}
	if w.regex != nil {
		q.Content = maxSearched
	}
	files, err := host.Look(ctx, q)
	if err != nil {
		return "", err
	}
	f := files[0]
	switch {
	case f.Kind == modules.Missing && gone:
		return "", nil
	case f.Kind == modules.Missing:
		return "it is not there", nil
	case gone && w.regex == nil:
		return "it is still there", nil
	case w.regex == nil:
		return "", nil
	case f.Truncated:
		return "", fmt.Errorf("%s is longer than %d bytes and cannot be searched", w.Path, maxSearched)
	}
	found := w.match(f.Content)
	if found == gone {
		return map[bool]string{true: "the text is still in it", false: "the text is not in it"}[found], nil
	}
	return "", nil
}

func (w *waiting) match(content []byte) bool {
	groups := w.regex.FindSubmatch(content)
	if groups == nil {
		return false
	}
	w.out.Groups = nil
	for _, group := range groups[1:] {
		w.out.Groups = append(w.out.Groups, string(group))
	}
	return true
}

func (w *waiting) probePort(ctx context.Context, host modules.Host, gone bool) (string, error) {
	attempt, stop := context.WithTimeout(ctx, w.Connect)
	defer stop()
	conn, err := host.Dial(attempt, "tcp", net.JoinHostPort(w.Host, strconv.Itoa(w.Port)))
	if err != nil {
		var unreachable *modules.UnreachableError
		switch {
		case errors.As(err, &unreachable), errors.Is(err, modules.ErrUnpredicted):
			return "", err
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		case gone:
			return "", nil
		}
		return "it does not answer (" + lastWords(err) + ")", nil
	}
	defer conn.Close()
	switch {
	case gone:
		return "it still answers", nil
	case w.regex == nil:
		return "", nil
	}
	return w.probeAnswer(attempt, conn)
}

// lastWords is the end of a network error, which is the part that says what happened.
func lastWords(err error) string {
	text := err.Error()
	return text[strings.LastIndex(text, ": ")+1:]
}

func (w *waiting) probeAnswer(ctx context.Context, conn net.Conn) (string, error) {
	// A tunnel's connection may know no deadlines; closing it ends the read on any.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var got []byte
	buffer := make([]byte, 4096)
	for len(got) < maxSearched {
		n, err := conn.Read(buffer)
		got = append(got, buffer[:n]...)
		if w.match(got) {
			return "", nil
		}
		if err != nil {
			break
		}
	}
	return "it answers without the text", nil
}

// probeDrained counts the connections of a local port in the kernel's tables.
func (w *waiting) probeDrained(ctx context.Context, host modules.Host) (string, error) {
	const maxTable = 16 << 20
	files, err := host.Look(ctx, modules.Query{Path: "/proc/net/tcp", Content: maxTable}, modules.Query{Path: "/proc/net/tcp6", Content: maxTable})
	if err != nil {
		return "", err
	}
	count := 0
	for _, f := range files {
		count += connections(string(f.Content), w.Port)
	}
	if count > 0 {
		return fmt.Sprintf("%d connections are open", count), nil
	}
	return "", nil
}

// listening is the kernel's number for a socket that waits for connections.
const listening = "0A"

// connections counts the lines of /proc/net/tcp whose local port is the one given and that do not just
// listen or wait for their time-out (06).
func connections(table string, port int) int {
	count := 0
	for line := range strings.SplitSeq(table, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[3] == listening || fields[3] == "06" {
			continue
		}
		_, hexPort, ok := strings.Cut(fields[1], ":")
		if n, err := strconv.ParseUint(hexPort, 16, 16); ok && err == nil && int(n) == port {
			count++
		}
	}
	return count
}

// kernelAddress reads an address as /proc/net writes it: 32-bit words of hexadecimal digits, each in
// the machine's byte order, which is little-endian on what we support.
func kernelAddress(text string) (netip.Addr, bool) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw)%4 != 0 {
		return netip.Addr{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		raw[i], raw[i+1], raw[i+2], raw[i+3] = raw[i+3], raw[i+2], raw[i+1], raw[i]
	}
	return netip.AddrFromSlice(raw)
}
