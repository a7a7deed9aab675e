package plugins

import (
	"bytes"
	"debug/elf"
	"strings"
)

// machineOf is the kind of machine that a program is for; "" where its beginning does not say.
func machineOf(content []byte) string {
	if f, err := elf.NewFile(bytes.NewReader(content)); err == nil {
		return "linux/" + strings.ToLower(strings.TrimPrefix(f.Machine.String(), "EM_"))
	}
	for magic, name := range map[string]string{"MZ": "windows", "\xcf\xfa\xed\xfe": "darwin", "\xca\xfe\xba\xbe": "darwin"} {
		if bytes.HasPrefix(content, []byte(magic)) {
			return name
		}
	}
	return ""
}
