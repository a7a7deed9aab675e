package plugins

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins/wire"
)

// Part is what a plugin provides: a *modules.Module, a *Source or a *Notifier.
type Part interface {
	// Title is the first line of its manual page.
	Title() string
}

// Serve is a plugin's main: it serves modules, inventory sources and notifiers to the pegbook that has started the
// process, and returns never. Two of one kind and name are a bug and panic. Started by a person it says what it is.
func Serve(all ...Part) {
	s := newServer(all)
	stdout, stderr := os.Stdout, os.Stderr
	s.ready = func() { os.Stdout, os.Stderr = stdout, stderr }
	if os.Getenv(cookie) != cookieValue {
		fmt.Fprint(os.Stderr, s.introduction(filepath.Base(os.Args[0])))
		os.Exit(1)
	}
	go endWithPegbook()
	own, err := greet(stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: goplugin.HandshakeConfig{ProtocolVersion: Version, MagicCookieKey: cookie, MagicCookieValue: cookieValue},
		Plugins:         goplugin.PluginSet{service: &gate{server: s}},
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
			return newGRPCServer(append(options, s.firstReady()...))
		},
		TLSProvider: func() (*tls.Config, error) { return own, nil },
		Logger:      hclog.NewNullLogger(),
	})
	os.Exit(0)
}

// greet makes this process' certificate, and adds it to the line with which go-plugin greets: there go-plugin itself
// tells only certificates of its own making.
func greet(stdout *os.File) (*tls.Config, error) {
	own, err := newCertificate()
	if err != nil {
		return nil, err
	}
	own.config.ClientAuth, own.config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !own.config.ClientCAs.AppendCertsFromPEM([]byte(os.Getenv("PLUGIN_CLIENT_CERT"))) {
		return nil, errors.New("pegbook has told no certificate")
	}
	own.config.RootCAs = own.config.ClientCAs
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	os.Stdout = w
	go func() {
		line, err := bufio.NewReader(r).ReadString('\n')
		if err == nil {
			_, err = fmt.Fprintln(stdout, strings.TrimSpace(line)+base64.RawStdEncoding.EncodeToString(own.der))
		}
		if err != nil {
			os.Exit(1)
		}
	}()
	return own.config, nil
}

// endWithPegbook ends the process when pegbook does: it holds the other end of the input.
func endWithPegbook() {
	_, _ = io.Copy(io.Discard, os.Stdin) // an error ends it as the end of input does
	os.Exit(0)
}

func newGRPCServer(options []grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(options, grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(window),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: heartbeat / 2, PermitWithoutStream: true}))...)
}

// server is the plugin's side of the wire.
type server struct {
	wire.UnimplementedPluginServer
	order     []Part
	modules   map[string]*modules.Module
	sources   map[string]*Source
	notifiers map[string]*Notifier
	// ready is called once, before the first question is taken, whichever that is: a process that takes the place of a
	// dead one is not asked to describe itself again. Go-plugin sends what is printed through its connection, where
	// the last words of a process get lost; pegbook reads the real output to its end.
	ready func()
	begin sync.Once
}

func newServer(all []Part) *server {
	s := &server{order: all, modules: map[string]*modules.Module{}, sources: map[string]*Source{}, notifiers: map[string]*Notifier{}, ready: func() {}}
	for _, part := range all {
		switch part := part.(type) {
		case *modules.Module:
			keep(s.modules, part.Name, part)
		case *Source:
			keep(s.sources, part.Name, part)
		case *Notifier:
			keep(s.notifiers, part.Name, part)
		default:
			panic(fmt.Sprintf("plugins: a plugin cannot provide a %T", part))
		}
	}
	return s
}

func keep[P any](all map[string]*P, name string, part *P) {
	if all[name] != nil {
		panic(fmt.Sprintf("plugins: two of its parts are called %q", name))
	}
	all[name] = part
}

// firstReady makes a server ready before the first question.
func (s *server) firstReady() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, q any, _ *grpc.UnaryServerInfo, answer grpc.UnaryHandler) (any, error) {
			s.begin.Do(s.ready)
			return answer(ctx, q)
		}),
		grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, serve grpc.StreamHandler) error {
			s.begin.Do(s.ready)
			return serve(srv, stream)
		}),
	}
}

// Parts are modules as parts of a plugin.
func Parts(all []*modules.Module) []Part {
	parts := make([]Part, len(all))
	for i, m := range all {
		parts[i] = m
	}
	return parts
}

func (s *server) introduction(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is a plugin of pegbook, which starts it by itself. Put it into the folder plugins beside a playbook and trust it:\n\n"+
		"    pegbook plugin add plugins/%s\n\nIt has\n", name, name)
	for _, part := range s.order {
		switch p := part.(type) {
		case *modules.Module:
			fmt.Fprintf(&b, "    module %-20s %s\n", p.Name, p.Title())
		case *Source:
			fmt.Fprintf(&b, "    inventory source %-20s %s\n", p.Name, p.Title())
		case *Notifier:
			fmt.Fprintf(&b, "    notifier %-20s %s\n", p.Name, p.Title())
		}
	}
	return b.String()
}

// Describe says what the plugin has.
func (s *server) Describe(context.Context, *wire.DescribeRequest) (*wire.Description, error) {
	d := &wire.Description{Minor: Minor}
	for _, part := range s.order {
		switch p := part.(type) {
		case *modules.Module:
			d.Modules = append(d.Modules, moduleToWire(p))
		case *Source:
			d.Sources = append(d.Sources, &wire.Source{Name: p.Name, Doc: p.Doc, Options: schemaToWire(p.Options)})
		case *Notifier:
			d.Notifiers = append(d.Notifiers, &wire.Notifier{Name: p.Name, Doc: p.Doc, Options: schemaToWire(p.Options)})
		}
	}
	return d, nil
}

// Task is one use of a module.
func (s *server) Task(stream grpc.BidiStreamingServer[wire.Frame, wire.Frame]) error {
	serveTask(stream, s.modules)
	return nil
}

// Reads asks a module what a text uses.
func (s *server) Reads(_ context.Context, q *wire.ReadsRequest) (*wire.ReadsAnswer, error) {
	m := s.modules[q.Module]
	if m == nil || m.Reads == nil {
		return &wire.ReadsAnswer{Error: &wire.Error{Message: fmt.Sprintf("module %q reads no texts", q.Module)}}, nil
	}
	r, err := m.Reads(q.Args, q.Text)
	if err != nil {
		return &wire.ReadsAnswer{Error: &wire.Error{Message: err.Error()}}, nil
	}
	a := &wire.ReadsAnswer{Template: r.Template, Left: r.Delims[0], Right: r.Delims[1]}
	for _, v := range r.Variables {
		a.Variables = append(a.Variables, &wire.ReadsAnswer_Mention{Variable: v.Variable, Text: v.Text, Offset: int64(v.Offset)})
	}
	return a, nil
}

// About asks a module what a task is about. A bug in it leaves the task a thing of its own.
func (s *server) About(_ context.Context, q *wire.AboutRequest) (answer *wire.AboutAnswer, _ error) {
	defer func() {
		if bug := recover(); bug != nil {
			answer = &wire.AboutAnswer{}
		}
	}()
	m := s.modules[q.Module]
	if m == nil || m.About == nil {
		return &wire.AboutAnswer{}, nil
	}
	return &wire.AboutAnswer{About: printable(m.About(q.Args))}, nil
}
