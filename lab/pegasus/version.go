package pegasus

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// Version is what the program calls itself.
type Version struct{ Number, Commit string }

// versionFile is the line of the package's VERSION file.
var versionFile = regexp.MustCompile(`^Pegasus Server (\S+) \(([^)]*)\)`)

// PackagedVersion is the version of the package the program at exe belongs to:
// VERSION beside its bin/ directory. One program so serves packages of many
// versions. Without the file it is the release that was observed.
func PackagedVersion(exe string) Version {
	raw, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(exe)), "VERSION"))
	if m := versionFile.FindSubmatch(raw); err == nil && m != nil {
		return Version{string(m[1]), string(m[2])}
	}
	return Version{"2.5.0", "0ca31b70eac7321bb17fb034105695597245d47b"}
}

func (v Version) String() string {
	return fmt.Sprintf("Pegasus Server %s (%s) Release", v.Number, v.Commit)
}
