package vault

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return text
}

func key(t testing.TB, id, file string) Key {
	t.Helper()
	k, err := ReadKey(context.Background(), id, filepath.Join("testdata", file), nil)
	require.NoError(t, err)
	return k
}

// The files of testdata were made by ansible-vault of ansible-core 2.14.18 (see testdata/README.md).
func TestOpensWhatAnsibleVaultEncrypted(t *testing.T) {
	every := make([]byte, 0, 1280)
	for range 5 {
		for b := range 256 {
			every = append(every, byte(b))
		}
	}
	keys := NewKeyring(nil, key(t, "", "pw1"), key(t, "prod", "pw2"))
	for _, tt := range []struct {
		name, id string
		want     []byte
	}{
		{"v11", "", read(t, "plain")},
		{"v12-prod", "prod", read(t, "plain")},
		{"empty", "", []byte{}},
		{"block", "", []byte("xxxxxxxxxxxxxxxx")},
		{"binary", "bin", every},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := read(t, tt.name)
			require.True(t, Sealed(text))
			id, err := ID(text)
			require.NoError(t, err)
			assert.Equal(t, tt.id, id)
			got, err := keys.Open(text)
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
			got, err = keys.Open(bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n  ")))
			require.NoError(t, err, "with the white space of another editor, or of a block in YAML")
			assert.Equal(t, tt.want, got)
		})
	}
}

// With the same salt and password pegbook writes what ansible-vault wrote, byte by byte.
func TestSealsAsAnsibleVaultDoes(t *testing.T) {
	for _, tt := range []struct {
		name string
		key  Key
	}{{"v11", key(t, "", "pw1")}, {"v12-prod", key(t, "prod", "pw2")}, {"binary", key(t, "bin", "pw1")}, {"empty", key(t, "default", "pw1")}} {
		text := read(t, tt.name)
		e, err := parse(text)
		require.NoError(t, err)
		plain, err := NewKeyring(nil, tt.key).Open(text)
		require.NoError(t, err)
		sealed, err := sealWith(plain, tt.key, e.salt)
		require.NoError(t, err)
		assert.Equal(t, string(text), string(sealed), tt.name)
	}
}

func TestSealedTextsDiffer(t *testing.T) {
	k := Key{ID: "a", Password: []byte("p")}
	one, err := Seal([]byte("same"), k)
	require.NoError(t, err)
	two, err := Seal([]byte("same"), k)
	require.NoError(t, err)
	assert.NotEqual(t, string(one), string(two))
	got, err := NewKeyring(nil, k).Open(one)
	require.NoError(t, err)
	assert.Equal(t, "same", string(got))
}

func TestAllPasswordsAreTried(t *testing.T) {
	other := Key{ID: "other", Password: []byte("x")}
	mislabelled := Key{ID: "other", Password: key(t, "", "pw2").Password}
	for _, tt := range []struct {
		name string
		keys []Key
		want string // the error; "" for none
	}{
		{"no password", nil, NoPassword},
		{"a wrong one", []Key{other}, `cannot be decrypted: the password of id "other" is wrong`},
		{"several wrong ones, the one of the id first", []Key{other, {Password: []byte("y")}, {ID: "prod", Password: []byte("z")}},
			"cannot be decrypted: none of the passwords of ids prod, other, default is right"},
		{"the right one under another id", []Key{other, mislabelled}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewKeyring(nil, tt.keys...).Open(read(t, "v12-prod"))
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, tt.want)
			assert.Contains(t, Hint(err), "--vault-id prod@")
		})
	}
	_, err := (*Keyring)(nil).Open(read(t, "v11"))
	require.EqualError(t, err, NoPassword)
	assert.Contains(t, Hint(err), "--vault-password-file")
}

func TestDamage(t *testing.T) {
	good := string(read(t, "v11"))
	lines := strings.Split(good, "\n")
	for _, tt := range []struct {
		name, text, want string
		line             int
	}{
		{"version", strings.Replace(good, ";1.1;", ";1.0;", 1), `version "1.0" of ansible-vault's format is not supported; 1.1 and 1.2 are`, 1},
		{"cipher", strings.Replace(good, "AES256", "AES", 1), `the cipher "AES" is not supported; AES256 is`, 1},
		{"header", "$ANSIBLE_VAULT\n00", "the encrypted text is damaged: its first line must be like $ANSIBLE_VAULT;1.1;AES256", 1},
		{"a letter", strings.Replace(good, lines[2], "g"+lines[2][1:], 1), `the encrypted text is damaged: 'g' is no hexadecimal digit`, 3},
		{"a line lost", strings.Join(append(append([]string{}, lines[:2]...), lines[4:]...), "\n"), "the encrypted text is damaged: it has no salt, HMAC and ciphertext", 2},
		{"the end lost", strings.Join(lines[:5], "\n"), "the encrypted text is damaged: a part of it is missing", 2},
		{"a digit lost", strings.TrimSpace(good)[:len(strings.TrimSpace(good))-1], "the encrypted text is damaged: it has an odd number of digits", 7},
		{"header only", lines[0], "the encrypted text is damaged: it has no salt, HMAC and ciphertext", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewKeyring(nil, key(t, "", "pw1")).Open([]byte(tt.text))
			var damaged *FormatError
			require.ErrorAs(t, err, &damaged)
			assert.Equal(t, tt.want, damaged.Problem)
			assert.Equal(t, tt.line, damaged.Line)
		})
	}
}

func TestChangedCiphertextIsRefused(t *testing.T) {
	text := string(read(t, "v11"))
	text = strings.TrimSpace(text)
	last := text[len(text)-1]
	changed := text[:len(text)-1] + map[bool]string{true: "3", false: "4"}[last != '3']
	_, err := NewKeyring(nil, key(t, "", "pw1")).Open([]byte(changed))
	var wrong *PasswordError
	require.ErrorAs(t, err, &wrong)
}

func TestPasswordsOfFilesAndScripts(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, os.Chmod(path, mode))
		return path
	}
	outer := Key{Password: []byte("outer")}
	sealed, err := Seal([]byte("inner\n"), outer)
	require.NoError(t, err)
	before := NewKeyring(nil, outer)
	client := "#!/bin/sh\n[ \"$1 $2\" = '--vault-id prod' ] || exit 2\necho 'from client'\n"
	for _, tt := range []struct{ name, path, id, want string }{
		{"file", write("file", "  pass word \r\n", 0o600), "x", "pass word"},
		{"encrypted file", write("sealed", string(sealed), 0o600), "x", "inner"},
		{"script", write("script", "#!/bin/sh\necho ' from script '\n", 0o700), "x", " from script "},
		{"client", write("x-client.sh", client, 0o700), "prod", "from client"},
		{"client that does not know the id", write("y-client", client, 0o700), "dev", "error: has no password for id dev"},
		{"script that fails", write("bad", "#!/bin/sh\necho secret; exit 3\n", 0o700), "x", "error: ended with code 3"},
		{"data that is executable", write("data", "password\n", 0o700), "x", "error: chmod -x"},
		{"empty", write("empty", "\n", 0o600), "x", "error: gives an empty password"},
		{"folder", dir, "x", "error: is a folder"},
		{"missing", filepath.Join(dir, "no"), "x", "error: is not there"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, err := ReadKey(context.Background(), tt.id, tt.path, before)
			if want, fails := strings.CutPrefix(tt.want, "error: "); fails {
				require.ErrorContains(t, err, want)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, Key{ID: tt.id, Password: []byte(tt.want)}, k)
		})
	}
}

func TestPasswordsAreSecrets(t *testing.T) {
	keys := NewKeyring(nil, Key{Password: []byte("open sesame")})
	assert.Equal(t, "say ********", keys.Secrets().Text("say open sesame"))
}

func BenchmarkOpenAgain(b *testing.B) {
	keys, text := NewKeyring(nil, key(b, "", "pw1")), read(b, "v11")
	for b.Loop() {
		if _, err := keys.Open(text); err != nil {
			b.Fatal(err)
		}
	}
}

// Whatever the text: an answer or an error, and an error of the format has a line of the text.
func FuzzOpen(f *testing.F) {
	for _, name := range []string{"v11", "v12-prod", "empty", "block"} {
		f.Add(read(f, name))
	}
	f.Add([]byte("$ANSIBLE_VAULT;1.1;AES256\n3130"))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := parse(text)
		if err != nil {
			damaged, ok := err.(*FormatError) //nolint:errorlint // parse gives nothing else
			if !ok || damaged.Line < 1 || damaged.Line > bytes.Count(text, []byte("\n"))+2 {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		m := material{key: make([]byte, keyLength), macKey: []byte("k"), counter: make([]byte, 16)}
		e.mac = m.mac(e.ciphertext) // so that decryption itself is reached
		if _, fits, _ := e.open(m); !fits {
			t.Fatal("its own HMAC does not fit")
		}
	})
}
