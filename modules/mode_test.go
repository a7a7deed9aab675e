package modules

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestModeApplies(t *testing.T) {
	cases := []struct {
		text      string
		old       uint32
		directory bool
		want      uint32
	}{
		{"", 0o640, false, 0o640},
		{"0644", 0o777, false, 0o644},
		{"644", 0, false, 0o644},
		{"0o755", 0, false, 0o755},
		{"4755", 0, false, 0o4755},
		{"u=rw,go=r", 0o777, false, 0o644},
		{"a+x", 0o644, false, 0o755},
		{"+x", 0o644, false, 0o755},
		{"go-w", 0o666, false, 0o644},
		{"u=rwX,go=rX", 0o600, false, 0o644},
		{"u=rwX,go=rX", 0o600, true, 0o755},
		{"u=rwX,go=rX", 0o700, false, 0o755},
		{"u+s,g+s,+t", 0o755, false, 0o7755},
		{"o=", 0o777, false, 0o770},
		{"ug=rx", 0o000, false, 0o550},
	}
	for _, c := range cases {
		m, err := ParseMode(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if got := m.Apply(c.old, c.directory); got != c.want {
			t.Errorf("%q over %04o is %04o, want %04o", c.text, c.old, got, c.want)
		}
	}
	for _, text := range []string{"888", "rw", "u=z", "b+x", "77777", "u=r,", "-1", "0x1ff"} {
		if m, err := ParseMode(text); err == nil {
			t.Errorf("%q is read as %s", text, m)
		}
	}
}

// What people write without quotes: YAML has made a number of it, by the octal rule when it starts with 0.
func TestModeWithoutQuotes(t *testing.T) {
	type args struct {
		Mode Mode `arg:"mode" doc:"x"`
	}
	schema := SchemaOf[args]()
	common := []uint32{0, 0o777, 0o775, 0o770, 0o755, 0o750, 0o711, 0o700, 0o666, 0o664, 0o660, 0o644, 0o640, 0o600, 0o555, 0o550,
		0o500, 0o444, 0o440, 0o400, 0o1777, 0o2775, 0o2755, 0o4755}
	for _, mode := range common {
		var a args
		if err := schema.Decode(json.RawMessage(fmt.Sprintf(`{"mode": %d}`, mode)), &a); err != nil {
			t.Errorf("%04o is refused: %v", mode, err)
		} else if got := a.Mode.Apply(0, false); got != mode {
			t.Errorf("%04o is read as %04o", mode, got)
		}
		if mode == 0 {
			continue
		}
		var b args
		err := schema.Decode(json.RawMessage(fmt.Sprintf(`{"mode": %o}`, mode)), &b)
		if err == nil {
			t.Errorf("%o, which lacks its 0, is read as %s", mode, b.Mode)
		} else if want := fmt.Sprintf(`in quotes: "%04o"`, mode); !strings.Contains(err.Error(), want) {
			t.Errorf("%o: error %q does not say %s", mode, err, want)
		}
	}
}

func FuzzParseMode(f *testing.F) {
	for _, seed := range []string{"0644", "u=rw,go=r", "a+X", "=", ","} {
		f.Add(seed, uint32(0o644), true)
	}
	f.Fuzz(func(t *testing.T, text string, old uint32, directory bool) {
		m, err := ParseMode(text)
		if err != nil {
			return
		}
		if got := m.Apply(old&0o7777, directory); got > 0o7777 {
			t.Errorf("%q over %o is %o", text, old, got)
		}
	})
}
