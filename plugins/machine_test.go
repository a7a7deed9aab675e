package plugins

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// foreign is the smallest program for a machine of another kind that says which.
func foreign(t *testing.T) []byte {
	t.Helper()
	self, err := os.ReadFile("/bin/true")
	require.NoError(t, err)
	require.Equal(t, "\x7fELF", string(self[:4]))
	program := append([]byte(nil), self...)
	const machine = 18 // e_machine, two bytes, least first
	program[machine], program[machine+1] = 243, 0
	return program
}

func TestAProgramForAnotherMachineIsRefusedInOneLine(t *testing.T) {
	if runtime.GOOS != "linux" || exec.Command("/bin/true").Run() != nil {
		t.Skip("needs ELF")
	}
	path := filepath.Join(t.TempDir(), "motd")
	require.NoError(t, os.WriteFile(path, foreign(t), 0o700))
	_, err := Open(t.Context(), File{Path: path}, Options{})
	require.EqualError(t, err, "plugin motd: is no program for this machine, which is linux/"+runtime.GOARCH+"; it is one for linux/riscv")
	require.NoError(t, os.WriteFile(path, []byte("\xcf\xfa\xed\xfe\x00\x00\x00\x00"), 0o700))
	_, err = Open(t.Context(), File{Path: path}, Options{})
	require.EqualError(t, err, "plugin motd: is no program for this machine, which is linux/"+runtime.GOARCH+"; it is one for darwin")
}

func TestFoldersThatOthersCanChangeAreRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		mode os.FileMode
		uid  int
		want string
	}{
		{"our own", 0o755, os.Getuid(), ""},
		{"of a group", 0o775, os.Getuid(), "can be changed by others (its mode is 0775), and what lies in it is run as you; chmod go-w "},
		{"of everybody", 0o777, os.Getuid(), "can be changed by others (its mode is 0777)"},
		{"of somebody else", 0o755, 12345, "belongs to the user 12345, and what lies in it is run as you; chown -R "},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.uid != os.Getuid() && os.Getuid() != 0 {
				t.Skip("needs root to give a folder away")
			}
			folder := filepath.Join(t.TempDir(), "plugins")
			require.NoError(t, os.Mkdir(folder, 0o755))
			require.NoError(t, os.Chown(folder, c.uid, -1))
			require.NoError(t, os.Chmod(folder, c.mode))
			found, err := Find(folder)
			require.NoError(t, err, "nothing lies in it")
			require.Empty(t, found)
			require.NoError(t, os.WriteFile(filepath.Join(folder, "motd"), []byte("#!/bin/sh\n"), 0o700))
			found, err = Find(folder)
			if c.want == "" {
				require.NoError(t, err)
				require.Len(t, found, 1)
				return
			}
			require.ErrorContains(t, err, folder+" "+c.want)
		})
	}
}
