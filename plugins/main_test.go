package plugins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// The test's own program is the plugin: started as one, it behaves as behaviour says.
const behaviour = "PLUGIN_TEST_BEHAVIOUR"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(behaviour) == "pegbook":
		beKilled()
	case os.Getenv(cookie) == cookieValue:
		behave(os.Getenv(behaviour))
	}
	os.Exit(m.Run())
}

// behave is a plugin's main.
func behave(how string) {
	switch how {
	case "dies at once":
		fmt.Fprintln(os.Stderr, "cannot find libfoo.so")
		os.Exit(3)
	case "never serves":
		time.Sleep(time.Hour)
	case "answers nonsense":
		fmt.Println("Hello, I am a web server on port 80")
		time.Sleep(time.Hour)
	case "greets without end":
		for {
			fmt.Print(strings.Repeat("x", 1<<20))
		}
	case "speaks version 9":
		fmt.Println("1|9|unix|/tmp/nowhere|grpc|")
		time.Sleep(time.Hour)
	case "listens for everybody":
		fmt.Println("1|1|tcp|127.0.0.1:1|grpc|")
		time.Sleep(time.Hour)
	case "is no gRPC":
		fmt.Printf("1|1|unix|%s/x|netrpc|\n", os.Getenv("PLUGIN_UNIX_SOCKET_DIR"))
		time.Sleep(time.Hour)
	case "has children":
		haveChildren()
	case "two of a name":
		m := modules.Define("twin", "Twin\n\nText", func(context.Context, *modules.Call, struct{}) (*modules.Proposal, error) { return nil, nil })
		m.Name = "Not A Name"
		Serve(m)
	}
	Serve(append(Parts(testModules()), roughSource(), roughNotifier())...)
}

// misbehave ends, stops or floods the plugin's process, or hangs until ctx ends.
func misbehave(ctx context.Context, how string) error {
	fmt.Fprintln(os.Stderr, "cannot reach db1: "+how)
	switch how {
	case "die":
		os.Exit(7)
	case "freeze":
		return exec.Command("/bin/kill", "-STOP", fmt.Sprint(os.Getpid())).Run()
	case "hang":
		<-ctx.Done()
		return context.Cause(ctx)
	case "panic":
		panic("too hard")
	case "flood and die":
		flood(1000)
		fmt.Fprintln(os.Stderr, "out of words")
		os.Exit(7)
	case "flood":
		flood(1000)
	}
	return nil
}

// flood prints so many lines of a kilobyte, twice.
func flood(lines int) {
	line := strings.Repeat("spam ", 200) + "\n"
	for range lines {
		_, _ = io.WriteString(os.Stderr, line)
		_, _ = io.WriteString(os.Stdout, line)
	}
}

// roughSource is a source that misbehaves on request.
func roughSource() *Source {
	return DefineSource("rough", "Rough\n\nText", func(ctx context.Context, _ Question, o doArgs) (*Inventory, error) {
		inv := &Inventory{}
		inv.Host("h1")
		return inv, misbehave(ctx, o.How)
	})
}

// roughNotifier is a notifier that misbehaves on request, with the first event or before.
func roughNotifier() *Notifier {
	return DefineNotifier("rough", "Rough\n\nText", func(ctx context.Context, run Run, o doArgs) (*Listener, error) {
		how, atOnce := strings.CutPrefix(o.How, "at once ")
		if atOnce {
			if err := misbehave(ctx, how); err != nil {
				return nil, err
			}
		}
		return &Listener{Tell: func(ctx context.Context, _ Event) error {
			if how == "tell problems" {
				for range 2000 {
					run.Problem(errors.New(strings.Repeat("no\x1b[2J ", 1000)))
				}
			}
			return misbehave(ctx, how)
		}}, nil
	})
}

// haveChildren starts a process, and one that leaves the plugin's process group.
func haveChildren() {
	for _, argv := range [][]string{{"/bin/sleep", "4242"}, {"/usr/bin/setsid", "/bin/sleep", "4243"}} {
		if err := exec.Command(argv[0], argv[1:]...).Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

type doArgs struct {
	How string `arg:"how,free" doc:"what to do"`
}

// testModules are modules that misbehave on request.
func testModules() []*modules.Module {
	return []*modules.Module{modules.Define("act", "Do something\n\nOr not.", func(ctx context.Context, call *modules.Call, args doArgs) (*modules.Proposal, error) {
		switch args.How {
		case "panic":
			panic("proposing is too hard")
		case "die":
			fmt.Println("a line of no interest")
			fmt.Fprintln(os.Stderr, "fatal: disk on fire")
			os.Exit(7)
		case "crash":
			go func() { panic("nobody catches me") }()
			time.Sleep(time.Hour)
		case "hang":
			time.Sleep(time.Hour)
		case "freeze":
			return nil, exec.Command("/bin/kill", "-STOP", fmt.Sprint(os.Getpid())).Run()
		case "wait":
			<-ctx.Done()
			return nil, context.Cause(ctx)
		case "flood":
			flood(20_000)
		case "files":
			open, err := filepath.Glob("/proc/self/fd/*")
			if err != nil {
				return nil, err
			}
			var cores syscall.Rlimit
			if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &cores); err != nil {
				return nil, err
			}
			var files []string
			for _, fd := range open {
				if name, err := os.Readlink(fd); err == nil {
					files = append(files, name)
				}
			}
			return &modules.Proposal{Message: fmt.Sprint("cores up to ", cores.Max, " ", files)}, nil
		case "environment":
			return &modules.Proposal{Message: strings.Join(append(os.Environ(), os.Args...), "\n")}, nil
		case "nothing":
			return nil, nil
		case "look":
			_, err := call.Host.Look(ctx, modules.Query{Path: "/etc"})
			return &modules.Proposal{}, err
		case "do and die":
			return &modules.Proposal{Diff: []modules.Diff{{Subject: "life", Note: "ends"}},
				Do: func(context.Context, modules.Host) error { os.Exit(7); return nil }}, nil
		case "fail":
			return nil, errors.New("cannot do this")
		}
		return &modules.Proposal{Message: args.How}, nil
	})}
}

// beKilled is a pegbook that opens a plugin and says its process id; then somebody kills it.
func beKilled() {
	self, err := os.Executable()
	if err == nil {
		var p *Plugin
		if err = os.Setenv(behaviour, "has children"); err == nil {
			p, err = Open(context.Background(), File{Path: self, Env: []string{behaviour}}, Options{})
		}
		if err == nil {
			fmt.Println(p.PID())
			time.Sleep(time.Hour)
		}
	}
	fmt.Println(err)
	os.Exit(1)
}
