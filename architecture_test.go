// Package pegbook holds no code: its tests keep the structure that docs/architecture.md describes.
package pegbook

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const self = "github.com/pegbook/pegbook/"

type pkg struct {
	ImportPath string
	Standard   bool
	Doc        string
	Dir        string
	GoFiles    []string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Doc,Dir,GoFiles,Imports", "./...").Output()
	require.NoError(t, err)
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else {
			require.NoError(t, err)
		}
		all = append(all, p)
	}
}

// imports are the rules; the reason is what a failing build says.
var imports = []struct {
	who    *regexp.Regexp // packages the rule is for
	except *regexp.Regexp
	never  *regexp.Regexp // imports they may not have
	reason string
}{
	{regexp.MustCompile(`^modules$`), nil, regexp.MustCompile(`\.`), "the contract imports the standard library alone, so that plugins build without the runner"},
	{regexp.MustCompile(`^runner/connect/helper`), nil, regexp.MustCompile(`\.`), "the helper is sent to every host: standard library and its own wire only"},
	{regexp.MustCompile(`^modules(/|$)`), nil, regexp.MustCompile(`^` + self + `(runner|lab|plugins|cmd)`), "modules know the contract, never the runner"},
	{regexp.MustCompile(`^runner(/|$)`), nil, regexp.MustCompile(`^` + self + `(modules/builtin|modules/pegasus|modules/zookeeper|plugins|lab|cmd)`), "the runner knows modules by their contract; cmd hands them in"},
	{regexp.MustCompile(`.`), regexp.MustCompile(`^(runner/connect|lab/sshhost|lab/bench)$`), regexp.MustCompile(`^golang.org/x/crypto/ssh`), "only connect speaks SSH (and the lab: its simulated host, and the raw limit it is measured against)"},
	{regexp.MustCompile(`.`), regexp.MustCompile(`^runner/(vars|playbook|inventory|internal/document)$`), regexp.MustCompile(`yaml`), "YAML is read in vars, playbook and inventory (and the document reader they share) only"},
	{regexp.MustCompile(`.`), regexp.MustCompile(`^plugins(/|$)`), regexp.MustCompile(`^(github.com/hashicorp/go-plugin|google.golang.org/(grpc|protobuf))`), "only plugins speak gRPC"},
	{regexp.MustCompile(`^plugins(/wire)?$`), nil, regexp.MustCompile(`^` + self + `(runner|lab|cmd|modules/builtin)`), "a plugin is built of plugins and modules, without the runner"},
	{regexp.MustCompile(`.`), regexp.MustCompile(`^cmd/`), regexp.MustCompile(`spf13/cobra`), "verbs are cmd's"},
	{regexp.MustCompile(`.`), regexp.MustCompile(`^(modules/zksession|modules/zookeeper|runner/lock|lab/.*|lab)$`), regexp.MustCompile(`go-zookeeper`), "ZooKeeper's client is for its module and for locks, through zksession's sessions"},
	{regexp.MustCompile(`^runner/lock$`), nil, regexp.MustCompile(`^` + self + `runner/(vars|playbook|inventory|event|render)`), "a lock knows nothing of plays"},
	{regexp.MustCompile(`^runner/internal/graph$`), nil, regexp.MustCompile(`^` + self), "the graph knows no domain word"},
}

// ownWire lets the helper's program import its wire.
var ownWire = regexp.MustCompile(`^` + self + `runner/connect/helper`)

func TestImportsGoDownwards(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, self)
		for _, rule := range imports {
			if !rule.who.MatchString(name) || (rule.except != nil && rule.except.MatchString(name)) {
				continue
			}
			for _, imported := range p.Imports {
				if rule.never.MatchString(imported) && !ownWire.MatchString(imported) {
					t.Errorf("%s imports %s: %s", name, imported, rule.reason)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) == 0 {
			continue
		}
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		var documented []string
		for _, file := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.PackageClauseOnly|parser.ParseComments)
			require.NoError(t, err)
			if f.Doc != nil {
				documented = append(documented, file)
			}
		}
		if len(documented) > 1 {
			t.Errorf("%s has %d package comments: %v", p.ImportPath, len(documented), documented)
		}
	}
}

// The top level is decided; what has no home there needs a decision, not a folder.
func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	known := []string{"cmd", "runner", "modules", "plugins", "playbooks", "inventories", "lab", "docs", "scripts", "bin", "dist"}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && !slices.Contains(known, e.Name()) {
			t.Errorf("%s/ is no top-level folder of the layout", e.Name())
		}
	}
}
