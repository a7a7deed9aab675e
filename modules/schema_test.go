package modules

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

type common struct {
	Owner string `arg:"owner" doc:"who"`
}

type everything struct {
	Path string `arg:"path,path,required,alias=dest,alias=name" doc:"where"`
	common
	State   string                     `arg:"state" default:"on" choices:"on,off" doc:"what"`
	Count   int                        `arg:"count" default:"3" doc:"how many"`
	Ratio   float64                    `arg:"ratio" doc:"how much"`
	Force   bool                       `arg:"force" default:"true" doc:"whether"`
	Maybe   *bool                      `arg:"maybe" doc:"whether, or not given"`
	Wait    time.Duration              `arg:"wait" default:"1m" doc:"how long"`
	Mode    Mode                       `arg:"mode" doc:"permissions"`
	Words   []string                   `arg:"words,free" doc:"words"`
	Numbers []int                      `arg:"numbers" doc:"numbers"`
	Levels  []string                   `arg:"levels" choices:"a,b" doc:"levels"`
	Env     map[string]string          `arg:"env" doc:"environment"`
	Raw     json.RawMessage            `arg:"raw" doc:"anything"`
	When    Expr                       `arg:"when" doc:"a condition"`
	Secret  string                     `arg:"password,secret" doc:"a secret"`
	Rest    map[string]json.RawMessage `arg:",rest" doc:"the others"`
}

func TestSchemaIsReadOffTheTags(t *testing.T) {
	s := SchemaOf[everything]()
	type line struct {
		name       string
		typ, elem  Type
		required   bool
		def        string
		free, rest bool
	}
	var got []line
	for _, a := range s {
		got = append(got, line{a.Name, a.Type, a.Elem, a.Required, a.Default, a.Free, a.Rest})
	}
	want := []line{
		{"path", TypePath, "", true, "", false, false}, {"owner", TypeString, "", false, "", false, false},
		{"state", TypeString, "", false, "on", false, false}, {"count", TypeInt, "", false, "3", false, false},
		{"ratio", TypeFloat, "", false, "", false, false}, {"force", TypeBool, "", false, "true", false, false},
		{"maybe", TypeBool, "", false, "", false, false}, {"wait", TypeDuration, "", false, "1m", false, false},
		{"mode", TypeMode, "", false, "", false, false}, {"words", TypeList, TypeString, false, "", true, false},
		{"numbers", TypeList, TypeInt, false, "", false, false}, {"levels", TypeList, TypeString, false, "", false, false},
		{"env", TypeMap, TypeString, false, "", false, false}, {"raw", TypeAny, "", false, "", false, false},
		{"when", TypeExpr, "", false, "", false, false}, {"password", TypeString, "", false, "", false, false},
		{"", TypeMap, TypeAny, false, "", false, true},
	}
	if !slices.Equal(got, want) {
		t.Errorf("schema is\n%v\nwant\n%v", got, want)
	}
	if a, ok := s.Lookup("dest"); !ok || a.Name != "path" {
		t.Errorf("alias dest is %+v, %v", a, ok)
	}
	if a, ok := s.Free(); !ok || a.Name != "words" {
		t.Errorf("the free argument is %+v, %v", a, ok)
	}
	if a, ok := s.Lookup("anything"); !ok || !a.Rest {
		t.Errorf("another name is %+v, %v", a, ok)
	}
}

func TestDecode(t *testing.T) {
	var got everything
	raw := `{"dest": "/x", "owner": 5, "state": "off", "count": "7", "ratio": 1, "force": "no", "maybe": false, "wait": 1.5, "mode": "u+x",
		"words": "one", "numbers": [1, "2"], "levels": ["a", "b"], "env": {"A": 1, "B": true}, "raw": {"k": [1]}, "when": "eq .a 1",
		"password": "p", "other": [1], "more": null}`
	if err := SchemaOf[everything]().Decode(json.RawMessage(raw), &got); err != nil {
		t.Fatal(err)
	}
	no := false
	mode, _ := ParseMode("u+x")
	want := everything{Path: "/x", common: common{"5"}, State: "off", Count: 7, Ratio: 1, Maybe: &no, Wait: 1500 * time.Millisecond, Mode: mode,
		Words: []string{"one"}, Numbers: []int{1, 2}, Levels: []string{"a", "b"}, Env: map[string]string{"A": "1", "B": "true"},
		Raw: json.RawMessage(`{"k": [1]}`), When: "eq .a 1", Secret: "p",
		Rest: map[string]json.RawMessage{"other": json.RawMessage("[1]"), "more": json.RawMessage("null")}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("decoded\n%+v\nwant\n%+v", got, want)
	}
	var defaults everything
	if err := SchemaOf[everything]().Decode(json.RawMessage(`{"path": "/x", "count": null}`), &defaults); err != nil {
		t.Fatal(err)
	}
	if defaults.State != "on" || !defaults.Force || defaults.Wait != time.Minute || defaults.Maybe != nil || defaults.Rest != nil {
		t.Errorf("defaults are %+v", defaults)
	}
}

func TestDecodeErrors(t *testing.T) {
	type strict struct {
		Path  string        `arg:"path,path,required,alias=dest" doc:"where it goes"`
		Count int           `arg:"count" doc:"how many"`
		Force bool          `arg:"force" doc:"whether"`
		Wait  time.Duration `arg:"wait" doc:"how long"`
		State string        `arg:"state" choices:"on,off" doc:"what"`
		List  []int         `arg:"list" doc:"numbers"`
		Env   map[string]string
		Pass  int `arg:"pass,secret" doc:"a secret number"`
	}
	type fixed struct {
		Path  string            `arg:"path,path,required,alias=dest" doc:"where it goes"`
		Count int               `arg:"count" doc:"how many"`
		Force bool              `arg:"force" doc:"whether"`
		Wait  time.Duration     `arg:"wait" doc:"how long"`
		State string            `arg:"state" choices:"on,off" doc:"what"`
		List  []int             `arg:"list" doc:"numbers"`
		Env   map[string]string `arg:"env" doc:"environment"`
		Pass  int               `arg:"pass,secret" doc:"a secret number"`
	}
	cases := []struct{ args, arg, want string }{
		{`{}`, "path", "argument path is missing; path is where it goes"},
		{`{"path": "x"}`, "path", `path is "x"; write an absolute path`},
		{`{"path": "/x", "dest": "/y"}`, "path", "dest and path are the same argument"},
		{`{"path": "/x", "pth": 1}`, "pth", `there is no argument "pth"`},
		{`{"path": "/x", "count": "many"}`, "count", `count takes a whole number, not "many"`},
		{`{"path": "/x", "count": 1.5}`, "count", "count takes a whole number, not 1.5"},
		{`{"path": "/x", "count": [1]}`, "count", "count takes a whole number, not [1]"},
		{`{"path": "/x", "force": "perhaps"}`, "force", `force takes true or false, not "perhaps"`},
		{`{"path": "/x", "wait": "soon"}`, "wait", `wait takes seconds or a duration`},
		{`{"path": "/x", "state": "of"}`, "state", `state is "of"; it is one of on, off`},
		{`{"path": "/x", "list": [1, "a"]}`, "list", `list takes a whole number, not "a"`},
		{`{"path": "/x", "list": {}}`, "list", "list takes a list"},
		{`{"path": "/x", "env": "A=1"}`, "env", "env takes a map"},
		{`{"path": "/x", "pass": "s3cret"}`, "pass", "pass takes a whole number, not a value that does not fit"},
		{`[1]`, "", "arguments are no mapping"},
	}
	schema := SchemaOf[fixed]()
	for _, c := range cases {
		var target fixed
		err := schema.Decode(json.RawMessage(c.args), &target)
		var problem *ArgumentError
		if !errors.As(err, &problem) || problem.Arg != c.arg || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want one about %q that holds %q", c.args, err, c.arg, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the error shows a secret: %v", err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a field without tags is no mistake")
		}
	}()
	SchemaOf[strict]()
}

func TestNumbersHaveLimits(t *testing.T) {
	type limited struct {
		Port  int           `arg:"port" min:"1" max:"65535" default:"80" doc:"a port"`
		Wait  time.Duration `arg:"wait" doc:"how long"`
		Nap   time.Duration `arg:"nap" min:"100ms" max:"1m" doc:"how long"`
		Shift time.Duration `arg:"shift" min:"-1h" doc:"how long"`
		Ratio float64       `arg:"ratio" max:"1.5" doc:"how much"`
		Nice  []int         `arg:"nice" min:"-20" max:"19" doc:"how nice"`
		Pin   int           `arg:"pin,secret" max:"9999" doc:"a secret number"`
	}
	schema := SchemaOf[limited]()
	for _, c := range []struct{ arg, value, want string }{
		{"port", `1`, ""}, {"port", `65535`, ""}, {"port", `"22"`, ""},
		{"port", `0`, "port is 0; it is from 1 to 65535"}, {"port", `"70000"`, "port is 70000; it is from 1 to 65535"},
		{"wait", `0`, ""}, {"wait", `-1`, "wait is -1; it is at least 0"}, {"wait", `"-5m"`, "wait is -5m; it is at least 0"},
		{"wait", `1e300`, "seconds or a duration"}, {"wait", `"nan"`, "seconds or a duration"},
		{"nap", `0.1`, ""}, {"nap", `0.05`, "nap is 0.05; it is from 100ms to 1m"}, {"nap", `61`, "from 100ms to 1m"},
		{"shift", `"-30m"`, ""}, {"shift", `-7200`, "at least -1h"},
		{"ratio", `-4`, ""}, {"ratio", `1.6`, "ratio is 1.6; it is at most 1.5"},
		{"nice", `[-20, 19]`, ""}, {"nice", `[0, 20]`, "nice is 20; it is from -20 to 19"}, {"nice", `-21`, "from -20 to 19"},
		{"pin", `12345`, "pin is a value that does not fit; it is at most 9999"},
	} {
		arg, _ := schema.Lookup(c.arg)
		err := arg.Check(json.RawMessage(c.value))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s = %s: error is %v, want %q", c.arg, c.value, err, c.want)
		}
	}
}

func TestWrongLimitsAreABug(t *testing.T) {
	for name, make := range map[string]func() Schema{
		"of a text": func() Schema {
			return SchemaOf[struct {
				A string `arg:"a" min:"1" doc:"a"`
			}]()
		},
		"no number": func() Schema {
			return SchemaOf[struct {
				A int `arg:"a" max:"many" doc:"a"`
			}]()
		},
		"the wrong way round": func() Schema {
			return SchemaOf[struct {
				A int `arg:"a" min:"2" max:"1" doc:"a"`
			}]()
		},
		"which leave the default out": func() Schema {
			return SchemaOf[struct {
				A int `arg:"a" min:"2" default:"1" doc:"a"`
			}]()
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("limits %s are taken", name)
				}
			}()
			make()
		}()
	}
}

func TestCheckAgreesWithDecode(t *testing.T) {
	for _, a := range SchemaOf[everything]() {
		for _, value := range []string{`"x"`, `"/x"`, `1`, `1.5`, `true`, `[1]`, `["a"]`, `{"a": 1}`, `{}`, `"on"`, `"0644"`, `"5s"`} {
			if a.Rest {
				continue
			}
			raw, _ := json.Marshal(map[string]json.RawMessage{"path": json.RawMessage(`"/p"`), a.Name: json.RawMessage(value)})
			var target everything
			decoded := SchemaOf[everything]().Decode(raw, &target)
			if checked := a.Check(json.RawMessage(value)); (checked == nil) != (decoded == nil) {
				t.Errorf("%s = %s: Check says %v, Decode %v", a.Name, value, checked, decoded)
			}
		}
	}
}

func TestDefine(t *testing.T) {
	type args struct {
		Name string `arg:"name,required" doc:"a name"`
	}
	m := Define("greet", "Greet\n\ntext", func(_ context.Context, _ *Call, a args) (*Proposal, error) {
		return &Proposal{Message: "hello " + a.Name}, nil
	})
	p, err := m.Propose(t.Context(), &Call{}, json.RawMessage(`{"name": "you"}`))
	if err != nil || p.Message != "hello you" {
		t.Errorf("proposal is %+v, %v", p, err)
	}
	if _, err := m.Propose(t.Context(), &Call{}, nil); err == nil {
		t.Error("a required argument may be missing")
	}
	defer func() {
		if recover() == nil {
			t.Error("a module needs no manual page")
		}
	}()
	Define("greet", "", func(context.Context, *Call, args) (*Proposal, error) { return nil, nil })
}

func TestSources(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("b/run", "#!", 0o755)
	write("a", "abc", 0o644)
	if err := os.Symlink("a", filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	const sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	file, err := LocalFile(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []Source{file, Bytes("a", []byte("abc"))} {
		if got, err := s.SHA256(); got != sum || err != nil || s.Size() != 3 {
			t.Errorf("%s: sum %s, size %d, %v", s.Name(), got, s.Size(), err)
		}
	}
	if _, err := LocalFile(dir); err == nil {
		t.Error("a folder is a file")
	}
	if _, err := LocalFile(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
	tree, err := LocalTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range tree {
		got = append(got, strings.TrimSpace(e.Path+" "+string(e.Kind)+" "+e.Target))
	}
	if want := []string{"a file", "b directory", "b/run file", "l link a"}; !slices.Equal(got, want) {
		t.Errorf("tree is %q, want %q", got, want)
	}
	if tree[2].Mode != 0o755 {
		t.Errorf("mode is %o", tree[2].Mode)
	}
}

func TestErrorsSayWhatHappened(t *testing.T) {
	cases := []struct {
		err  error
		want string
	}{
		{&ExitError{Argv: []string{"app"}, Output: Output{ExitCode: 2, Stderr: []byte("first\nlast\n")}}, "app ended with code 2: last"},
		{&ExitError{Argv: []string{"app"}, Output: Output{ExitCode: 2, Stdout: []byte("said\n")}}, "app ended with code 2: said"},
		{&ExitError{Output: Output{ExitCode: 2}}, "command ended with code 2"},
		{&UnreachableError{Host: "h", Err: errors.New("no route")}, "h cannot be reached: no route"},
		{&UnreachableError{Host: "h", Err: errors.New("no route"), Hint: "see -vvv"}, "h cannot be reached: no route; see -vvv"},
		{&FileError{Op: "write", Path: "/x", Kind: ErrNoSpace, Text: "no space left on device"}, "write /x: no space left on device"},
	}
	for _, c := range cases {
		if c.err.Error() != c.want {
			t.Errorf("error is %q, want %q", c.err, c.want)
		}
	}
	if !errors.Is(cases[5].err, ErrNoSpace) {
		t.Error("a full disk is not ErrNoSpace")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"path": "/x", "count": 1, "env": {"a": 1}, "words": ["a"], "mode": 420}`))
	f.Add([]byte(`{"path": "/x", "raw": null, "when": 5}`))
	schema := SchemaOf[everything]()
	f.Fuzz(func(t *testing.T, raw []byte) {
		var target everything
		if err := schema.Decode(raw, &target); err == nil && !strings.HasPrefix(target.Path, "/") && target.Path != "" {
			t.Errorf("%s gives the path %q", raw, target.Path)
		}
	})
}
