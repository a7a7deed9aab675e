package secret

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func setOf(texts ...string) *Set {
	s := &Set{}
	s.Add(texts...)
	return s
}

func TestText(t *testing.T) {
	for _, tt := range []struct {
		name, text, want string
		secrets          []string
	}{
		{"none", "as it is", "as it is", nil},
		{"inside of a word", "xhunter2y", "x********y", []string{"hunter2"}},
		{"several times", "hunter2 hunter2", "******** ********", []string{"hunter2"}},
		{"the longer one first", "so abcdefg!", "so ********!", []string{"abcd", "", "abcdefg"}},
		{"overlapping ones leave nothing of each other", "<abcdXYabcd>", "<********>", []string{"abcdXY", "XYabcd"}},
		{"short, alone", "cab ab ab1", "cab ******** ab1", []string{"ab"}},
		{"short, no letter", "a - b", "a - b", []string{"-"}},
		{"truth", "true and false", "true and false", []string{"true", "No", "null"}},
		{"without the line break behind it", "pass: hunter2.", "pass: ********.", []string{"hunter2\n"}},
		{"each line of several", "BEGIN\nMIIEpAIB\nEND\nAAAABBBB", "BEGIN\n********\nEND\n********", []string{"BEGIN\nMIIEpAIB\nAAAABBBB\nEND"}},
		{"cut off", "stderr: longsec…", "stderr: ********…", []string{"longsecret"}},
		{"cut off elsewhere", "longsec and so on…", "longsec and so on…", []string{"longsecret"}},
		{"not ASCII", "pw=pässwörd", "pw=********", []string{"pässwörd"}},
		{"at the end", "abc", "abc", []string{"abcd"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, setOf(tt.secrets...).Text(tt.text))
		})
	}
}

// A secret is masked in the forms in which programs print it, whatever stands around it.
func TestForms(t *testing.T) {
	shell := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'"'"'`) + "'" }
	for _, text := range []string{"s3cr3t-p4ss!&word", `it's "a" $pecial \ one`, "pä ss/wö+rd?", "line one of it\nand line two 'of' it\n", "abcdefgh"} {
		quoted, err := json.Marshal(text)
		require.NoError(t, err)
		twice, err := json.Marshal(string(quoted))
		require.NoError(t, err)
		s := setOf(text)
		trimmed := strings.TrimSpace(text)
		for name, form := range map[string]string{
			"as it is": text, "JSON": string(quoted), "JSON in JSON": string(twice[3 : len(twice)-3]),
			"Go": fmt.Sprintf("%q", text), "shell": shell(text), "URL query": url.QueryEscape(trimmed), "URL path": url.PathEscape(trimmed),
			"base64": base64.StdEncoding.EncodeToString([]byte(trimmed)), "base64 of more": base64.StdEncoding.EncodeToString([]byte("user:" + trimmed + "@host")),
			"base64 of more, shifted": base64.URLEncoding.EncodeToString([]byte("admin:" + trimmed)), "hexadecimal": hex.EncodeToString([]byte(trimmed)),
		} {
			got := s.Text("<" + form + ">")
			if strings.HasPrefix(name, "base64 of more") {
				form = form[10 : len(form)-10] // what stands around the secret may be seen
			}
			for _, piece := range []string{trimmed, form} {
				for i := 0; i+8 <= len(piece); i++ {
					if strings.Contains(got, piece[i:i+8]) {
						t.Errorf("%s of %q: %q shows %q", name, text, got, piece[i:i+8])
						break
					}
				}
			}
		}
	}
}

func TestJSON(t *testing.T) {
	for _, tt := range []struct{ name, raw, want, secret string }{
		{"in a text", `{"msg":"is hunter\"22","n":12345}`, `{"msg":"is ********","n":12345}`, `hunter"22`},
		{"with signs that HTML escapes", `{"msg":"a&b<c>"}`, `{"msg":"********"}`, "a&b<c>"},
		{"a number", `{"msg":"x","n":12345}`, `{"msg":"x","n":"********"}`, "12345"},
		{"inside of a number", `[123456,-1.5e3]`, `["********",-1.5e3]`, "12345"},
		{"short, alone", `{"msg":"is ab, abc","ab":"ab"}`, `{"msg":"is ********, abc","ab":"********"}`, "ab"},
		{"short, a number", `{"rc":1,"n":12}`, `{"rc":"********","n":12}`, "1"},
		{"a key", `{"hunter22":1}`, `{"********":1}`, "hunter22"},
		{"empty", `{"msg":""}`, `{"msg":""}`, ""},
		{"a backslash", `{"msg":"c:\\temp1 \"x\""}`, `{"msg":"******** \"x\""}`, `c:\temp1`},
		{"a line break", `["ab\ncdefgh"]`, `["********"]`, "ab\ncdefgh"},
		{"escaped otherwise", `["h\u0075nter22 hunter22"]`, `["******** ********"]`, "hunter22"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := setOf(tt.secret).JSON(json.RawMessage(tt.raw))
			assert.Equal(t, tt.want, string(got))
			assert.True(t, json.Valid(got))
		})
	}
}

func TestNilSetMasksNothing(t *testing.T) {
	var s *Set
	s.Add("secret")
	assert.True(t, s.Empty())
	assert.Equal(t, "secret", s.Text("secret"))
	assert.Equal(t, `"secret"`, string(s.JSON([]byte(`"secret"`))))
}

func TestConcurrentUse(t *testing.T) {
	s := &Set{}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 50 {
				text := fmt.Sprintf("secret-%d-%d", i, j)
				s.Add(text)
				assert.NotContains(t, s.Text("a "+text), text)
			}
		})
	}
	all.Wait()
}

// A masked text never holds a secret, and masked JSON stays JSON.
func FuzzMask(f *testing.F) {
	f.Add("hunter2", "ab", `{"a":"xhunter2","b":[1.5,"ab"]}`)
	f.Add("a\nb", "12", "12 a\nb")
	f.Fuzz(func(t *testing.T, one, two, text string) {
		s := setOf(one, two)
		got := s.Text(text)
		for _, secret := range []string{one, two} {
			if len(secret) >= least && !common(secret) && !strings.Contains(Mask, secret) && strings.Contains(strings.ReplaceAll(got, Mask, "\x00"), secret) {
				t.Fatalf("%q shows %q", got, secret)
			}
		}
		if json.Valid([]byte(text)) && !json.Valid(s.JSON([]byte(text))) {
			t.Fatalf("%q is no JSON any more: %q", text, s.JSON([]byte(text)))
		}
	})
}

const result = `{"changed":true,"cmd":["systemctl","restart","pegasus-replica"],"delta":"0:00:01.2","rc":0,"stdout":"ok\nall is well on this host and there is nothing to be seen here","stdout_lines":["ok","all is well on this host and there is nothing to be seen here"]}`

func BenchmarkNoSecret(b *testing.B) {
	s := &Set{}
	for b.Loop() {
		s.JSON([]byte(result))
	}
}

func BenchmarkThousandSecrets(b *testing.B) {
	s := &Set{}
	for i := range 1000 {
		s.Add(fmt.Sprintf("%x-password-%d", i*7919, i))
	}
	b.SetBytes(int64(len(result)))
	b.ReportAllocs()
	for b.Loop() {
		s.JSON([]byte(result))
	}
}

func BenchmarkAdd(b *testing.B) {
	s := &Set{}
	i := 0
	for b.Loop() {
		i++
		s.Add(fmt.Sprintf("%x-password-%d", i*7919, i))
	}
}
