package main

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The test binary is pegbook itself when a script calls it, so that scripts need no built program.
func TestMain(m *testing.M) {
	testscript.Main(homeless{m}, map[string]func(){"pegbook": main, "pegbook-mortal": mortalMain})
}

// homeless runs tests with a home of journals of their own.
type homeless struct{ *testing.M }

func (m homeless) Run() int {
	dir, err := os.MkdirTemp("", "pegbook-home-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	os.Setenv("PEGBOOK_HOME", dir)
	defer forget(dir)
	return m.M.Run()
}

// forget removes what this machine, as a managed host, has kept of the runs of a home.
func forget(home string) {
	runs, err := os.ReadDir(filepath.Join(home, "runs"))
	if err != nil {
		return
	}
	kept := filepath.Join("/var/tmp", "pegbook-kept-"+strconv.Itoa(os.Getuid()))
	for _, run := range runs {
		_ = os.RemoveAll(filepath.Join(kept, run.Name()))
	}
	_ = os.Remove(kept) // where nobody else's is in it
}

// TestScripts runs what users see: every script of testdata/script, hosts being local.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("PEGBOOK_HOME", filepath.Join(env.WorkDir, ".pegbook"))
			env.Defer(func() { forget(filepath.Join(env.WorkDir, ".pegbook")) })
			env.Setenv("NO_COLOR", "1")
			env.Setenv("PATH", os.Getenv("PATH"))
			return nil
		},
	})
}
