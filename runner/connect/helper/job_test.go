package helper

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/pegbook/pegbook/runner/connect/helper/wire"
)

// TestJobsThatNobodyAsksForGo ages folders of jobs; the command of one that nobody took over may hold a secret.
func TestJobsThatNobodyAsksForGo(t *testing.T) {
	me := identity(strconv.Itoa(os.Getpid()))
	result := string(wire.AppendJobState(nil, &wire.JobState{Known: true, Finished: true}))
	for what, c := range map[string]struct {
		files map[string]string
		age   time.Duration
		stays bool
	}{
		"running for long":             {map[string]string{processFile: me}, 30 * 24 * time.Hour, true},
		"ended lately":                 {map[string]string{processFile: "1 1", resultFile: result}, jobKept - time.Hour, true},
		"ended long ago":               {map[string]string{processFile: "1 1", resultFile: result}, jobKept + time.Hour, false},
		"lost lately":                  {map[string]string{processFile: "1 1"}, jobKept - time.Hour, true},
		"lost long ago":                {map[string]string{processFile: "1 1"}, jobKept + time.Hour, false},
		"about to be taken over":       {map[string]string{commandFile: "secret"}, time.Minute, true},
		"never taken over":             {map[string]string{commandFile: "secret"}, 2 * jobTaken, false},
		"not even its command written": {map[string]string{commandFile + ".new": "sec"}, 2 * jobTaken, false},
	} {
		root := t.TempDir()
		dir := filepath.Join(root, "job")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, text := range c.files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		then := time.Now().Add(-c.age)
		if err := os.Chtimes(dir, then, then); err != nil {
			t.Fatal(err)
		}
		sweepJobs(root)
		if _, err := os.Stat(dir); (err == nil) != c.stays {
			t.Errorf("%s: %v", what, err)
		}
	}
}
