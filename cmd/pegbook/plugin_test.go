package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
)

// buildExamples builds example plugins into a folder; "..." is all of them. Others are folders of programs besides.
func buildExamples(t *testing.T, which string, others ...string) string {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("go", append([]string{"build", "-ldflags", "-s -w", "-o", dir + "/", "../../plugins/examples/" + which}, others...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return dir
}

// python says whether there is a Python that a plugin can be written in, as a plugin's environment sees it.
func python() bool {
	cmd := exec.Command("/usr/bin/env", "python3", "-c", "import grpc, google.protobuf, cryptography")
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return cmd.Run() == nil
}

// TestPluginScripts runs what users of plugins see: every script of testdata/plugin, with the example plugins in
// $EXAMPLES, and one that misbehaves.
func TestPluginScripts(t *testing.T) {
	examples := buildExamples(t, "...", "./testdata/rough")
	if python() {
		out, err := exec.Command("make", "-C", "../../plugins/examples/key_value", "OUT="+filepath.Join(examples, "key_value")).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	source, err := filepath.Abs("../..")
	require.NoError(t, err)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "plugin"),
		Condition: func(name string) (bool, error) {
			if name != "python" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return python(), nil
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("PEGBOOK_HOME", filepath.Join(env.WorkDir, ".pegbook"))
			env.Setenv("NO_COLOR", "1")
			env.Setenv("PATH", os.Getenv("PATH"))
			env.Setenv("EXAMPLES", examples)
			env.Setenv("SOURCE", source)
			for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOFLAGS", "GOTOOLCHAIN"} { // HOME is another
				out, err := exec.Command("go", "env", name).Output()
				if err != nil {
					return err
				}
				env.Setenv(name, strings.TrimSpace(string(out)))
			}
			return nil
		},
	})
}
