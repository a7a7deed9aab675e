package runner

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// docs/connections.md names every connection variable that is read, and no other.
func TestConnectionVariablesAreDocumented(t *testing.T) {
	source, err := os.ReadFile("connection.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/connections.md")
	if err != nil {
		t.Fatal(err)
	}
	read := map[string]bool{}
	for _, m := range regexp.MustCompile(`"(ansible_[a-z_]+)"`).FindAllSubmatch(source, -1) {
		read[string(m[1])] = true
		if !strings.Contains(string(page), "`"+string(m[1])+"`") {
			t.Errorf("%s is read, and not in docs/connections.md", m[1])
		}
	}
	for _, name := range regexp.MustCompile("`(ansible_[a-z_]+)[`:]").FindAllSubmatch(page, -1) {
		if !read[string(name[1])] {
			t.Errorf("docs/connections.md has %s, which nobody reads", name[1])
		}
	}
	for _, v := range ConnectionVariables() {
		if !read[v.Name] {
			t.Errorf("ConnectionVariables has %s, which nobody reads", v.Name)
		}
		delete(read, v.Name)
	}
	for name := range read {
		t.Errorf("%s is read, and not in ConnectionVariables", name)
	}
}

func TestConnectionVariablesAreRead(t *testing.T) {
	read := ConnectionVariables()
	if len(read) < 25 {
		t.Errorf("only %d variables were found in connection.go", len(read))
	}
}
