package builtin

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pegbook/pegbook/modules/modtest"
)

// service answers what the tests of get_url and uri ask.
func service(t *testing.T) http.Handler {
	t.Helper()
	changed := time.Now().Add(-time.Hour)
	mux := http.NewServeMux()
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", changed, strings.NewReader("content\n"))
	})
	mux.HandleFunc("/named", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Disposition", `attachment; filename="../../given.txt"`)
		fmt.Fprint(w, "named\n")
	})
	mux.HandleFunc("/sums", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s  other\n%s *./file\n", digestOf("sha512", "x"), digestOf("sha512", "content\n"))
	})
	mux.HandleFunc("/secret", func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user+":"+password != "me:s3cret" {
			w.Header().Set("WWW-Authenticate", "Basic")
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "welcome")
	})
	mux.HandleFunc("/json", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.x+json; charset=utf-8")
		w.Header().Set("X-Several-Words", "yes")
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "7"})
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, `{"method": %q, "type": %q, "body": %q, "header": %q}`, r.Method, r.Header.Get("Content-Type"), body, r.Header.Get("X-Mine"))
	})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/json", http.StatusFound) })
	mux.HandleFunc("/circle", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/circle", http.StatusFound) })
	mux.HandleFunc("/gone", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "gone for good", http.StatusGone) })
	mux.HandleFunc("/silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/stuck", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, "half")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/short", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, "half")
	})
	return mux
}

// network is a machine from which a server called web can be reached, and nothing else.
func network(t *testing.T, server *httptest.Server) *modtest.Machine {
	t.Helper()
	t.Cleanup(server.Close)
	host := machine().Mkdir("/srv")
	host.OnDial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if name, _, _ := net.SplitHostPort(addr); name != "web" && name != "example.com" {
			return nil, errors.New("dial tcp: no such host")
		}
		return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
	}
	return host
}

func TestGetURL(t *testing.T) {
	// Each download dials, so round trips are counted with it.
	setup := modtest.Setup{Trips: 3, ActTrips: 4}
	sha := digestOf("sha256", "content\n")
	cases := []struct{ name, args, path, want string }{
		{"file", `{"url": "http://web/file", "dest": "/srv/f", "mode": "0600"}`, "/srv/f", "content\n"},
		{"over another", `{"url": "http://web/file", "dest": "/srv/old", "force": true}`, "/srv/old", "content\n"},
		{"into a folder", `{"url": "http://web/file?x=1#y", "dest": "/srv"}`, "/srv/file", "content\n"},
		{"by the server's name", `{"url": "http://web/named", "dest": "/srv/"}`, "/srv/given.txt", "named\n"},
		{"with its checksum", `{"url": "http://web/file", "dest": "/srv/f", "checksum": "sha256:` + sha + `"}`, "/srv/f", "content\n"},
		{"with a list of checksums", `{"url": "http://web/file", "dest": "/srv/f", "checksum": "sha512:http://web/sums", "force": true}`, "/srv/f", "content\n"},
		{"with a password", `{"url": "http://web/secret", "dest": "/srv/f", "url_username": "me", "url_password": "s3cret"}`, "/srv/f", "welcome"},
		{"with a password at once", `{"url": "http://web/secret", "dest": "/srv/f", "username": "me", "password": "s3cret", "force_basic_auth": true}`, "/srv/f", "welcome"},
		{"user and password in the address", `{"url": "http://me:s3cret@web/secret", "dest": "/srv/f"}`, "/srv/f", "welcome"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			host := network(t, httptest.NewServer(service(t))).Write("/srv/old", "old\n")
			setup := setup
			if strings.Contains(c.args, "sums") || strings.Contains(c.args, "web/secret") {
				setup.Trips, setup.ActTrips = 5, 6
			}
			r := once(t, GetURL(), c.args, host, setup)
			equal(t, c.path, host.Content(c.path), c.want)
			equal(t, "dest", r.Get("dest"), `"`+c.path+`"`)
			equal(t, "checksum_src", r.Get("checksum_src"), `"`+digestOf("sha256", c.want)+`"`)
			equal(t, "unknown in check mode", r.Unknown, false)
			if strings.Contains(string(r.Output), "s3cret") {
				t.Errorf("the output shows the password: %s", r.Output)
			}
		})
	}
}

func TestGetURLAsksOnlyWhenItMust(t *testing.T) {
	host := network(t, httptest.NewServer(service(t)))
	dials := 0
	dial := host.OnDial
	host.OnDial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials++
		return dial(ctx, network, addr)
	}
	host.Write("/srv/f", "content\n")
	once(t, GetURL(), `{"url": "http://web/file", "dest": "/srv/f", "checksum": "sha256:`+digestOf("sha256", "content\n")+`"}`, host, modtest.Setup{})
	equal(t, "requests where the checksum is right", dials, 0)
	host.Write("/srv/g", "newer than the server's\n")
	r := once(t, GetURL(), `{"url": "http://web/file", "dest": "/srv/g"}`, host, modtest.Setup{Trips: 2})
	equal(t, "status of a file that is newer", r.Get("status_code"), "304")
	once(t, GetURL(), `{"url": "http://web/file", "dest": "/srv/g", "checksum": "sha256:`+digestOf("sha256", "content\n")+`", "backup": true}`, host, modtest.Setup{ActTrips: 4})
	equal(t, "a file with another checksum", host.Content("/srv/g"), "content\n")
}

func TestGetURLErrors(t *testing.T) {
	host := network(t, httptest.NewServer(service(t)))
	with := func(more string) string { return `{"dest": "/srv/f", ` + more + `}` }
	modtest.Errors(t, GetURL(), []modtest.ErrorCase{
		{Name: "status", Args: with(`"url": "http://web/gone"`), Host: host, Want: "410 Gone"},
		{Name: "wrong password", Args: with(`"url": "http://web/secret", "url_username": "me", "url_password": "x"`), Host: host, Want: "401"},
		{Name: "checksum", Args: with(`"url": "http://web/file", "checksum": "md5:00000000000000000000000000000000"`), Host: host, Want: "the checksum is " + digestOf("md5", "content\n")},
		{Name: "checksum of another kind", Args: with(`"url": "http://web/file", "checksum": "sha256:abc"`), Host: host, Want: "is no sha256"},
		{Name: "unknown checksum", Args: with(`"url": "http://web/file", "checksum": "crc:12"`), Host: host, Want: "algorithm"},
		{Name: "not listed", Args: with(`"url": "http://web/json", "checksum": "sha512:http://web/sums"`), Host: host, Want: "lists no checksum of json"},
		{Name: "no answer", Args: with(`"url": "http://web/silent", "timeout": 0.1`), Host: host, Want: "nothing came for 100ms"},
		{Name: "half an answer", Args: with(`"url": "http://web/stuck", "timeout": 0.1`), Host: host, Want: "nothing came for 100ms"},
		{Name: "broken off", Args: with(`"url": "http://web/short"`), Host: host, Want: "unexpected EOF"},
		{Name: "a circle", Args: with(`"url": "http://web/circle"`), Host: host, Want: "more than 20 times"},
		{Name: "no server", Args: with(`"url": "http://none/file"`), Host: host, Want: "no such host"},
		{Name: "no scheme", Args: with(`"url": "web/file"`), Host: host, Want: "http://"},
		{Name: "a file", Args: with(`"url": "file:///etc/passwd"`), Host: host, Want: "remote_src"},
		{Name: "no folder", Args: `{"url": "http://web/file", "dest": "/none/"}`, Host: host, Want: "make the folder"},
		{Name: "proxy", Args: with(`"url": "http://web/file", "use_proxy": true`), Host: host, Want: "proxy is not"},
		{Name: "cut connection", Args: with(`"url": "http://web/file"`), Host: cut(), Want: "cannot be reached"},
	})
}

func TestRequestsTrustWhatTheHostTrusts(t *testing.T) {
	server := httptest.NewUnstartedServer(service(t))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshakes that must fail
	server.StartTLS()
	host := network(t, server)
	args := func(more string) string { return `{"url": "https://example.com/file"` + more + `}` }
	modtest.Errors(t, URI(), []modtest.ErrorCase{{Name: "unknown authority", Args: args(""), Host: host, Want: "set ca_path"}})
	once(t, URI(), args(`, "validate_certs": false`), host, modtest.Setup{Trips: 2})
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	host.Write("/srv/ca.pem", certificate)
	once(t, URI(), args(`, "ca_path": "/srv/ca.pem"`), host, modtest.Setup{Trips: 3})
	modtest.Errors(t, URI(), []modtest.ErrorCase{{Name: "no certificates", Args: args(`, "ca_path": "/etc"`), Host: host, Want: "holds no certificates"}})
	host.Write("/etc/pki/tls/certs/ca-bundle.crt", certificate)
	once(t, URI(), args(""), host, modtest.Setup{Trips: 3})
}

func TestURI(t *testing.T) {
	cases := []struct {
		name, args string
		want       map[string]string
	}{
		{"get", `{"url": "http://web/file"}`, map[string]string{"status": "200", "content": "", "msg": `"OK (8 bytes)"`, "content_length": `"8"`, "redirected": "false", "url": `"http://web/file"`}},
		{"content", `{"url": "http://web/file", "return_content": true}`, map[string]string{"content": `"content\n"`}},
		{"json", `{"url": "http://web/json", "headers": {"X-Mine": "1"}}`, map[string]string{"json.method": `"GET"`, "json.header": `"1"`, "x_several_words": `"yes"`, "cookies": `{"session":"7"}`, "cookies_string": `"session=7"`}},
		{"post json", `{"url": "http://web/json", "method": "POST", "body_format": "json", "body": {"a": [1]}}`, map[string]string{"json.body": `"{\"a\": [1]}"`, "json.type": `"application/json"`}},
		{"post text that is json", `{"url": "http://web/json", "method": "PUT", "body_format": "json", "body": "{}"}`, map[string]string{"json.body": `"{}"`}},
		{"post a form", `{"url": "http://web/json", "method": "POST", "body_format": "form-urlencoded", "body": {"b": ["x y", 2], "a": "&"}}`, map[string]string{"json.body": `"a=%26&b=x+y&b=2"`}},
		{"post pairs", `{"url": "http://web/json", "method": "POST", "body_format": "form-urlencoded", "body": [["z", "1"], ["a", "2"]]}`, map[string]string{"json.body": `"z=1&a=2"`}},
		{"own type", `{"url": "http://web/json", "method": "POST", "body_format": "json", "body": "x", "headers": {"content-type": "text/x"}}`, map[string]string{"json.type": `"text/x"`}},
		{"a file", `{"url": "http://web/json", "method": "POST", "src": "body.txt"}`, map[string]string{"json.body": `"from a file"`}},
		{"a file of the host", `{"url": "http://web/json", "method": "POST", "src": "/srv/body", "remote_src": true}`, map[string]string{"json.body": `"from the host"`}},
		{"redirected", `{"url": "http://web/moved"}`, map[string]string{"status": "200", "redirected": "true", "url": `"http://web/json"`}},
		{"not redirected", `{"url": "http://web/moved", "follow_redirects": "none", "status_code": 302}`, map[string]string{"status": "302", "location": `"/json"`}},
		{"not redirected after post", `{"url": "http://web/moved", "method": "POST", "status_code": [302]}`, map[string]string{"status": "302"}},
		{"redirected after post", `{"url": "http://web/moved", "method": "POST", "follow_redirects": "all"}`, map[string]string{"json.method": `"GET"`}},
		{"an expected failure", `{"url": "http://web/gone", "status_code": [200, 410], "return_content": true}`, map[string]string{"status": "410", "content": `"gone for good\n"`}},
		{"password", `{"url": "http://web/secret", "user": "me", "password": "s3cret", "return_content": true}`, map[string]string{"content": `"welcome"`}},
	}
	setup := modtest.Setup{Files: map[string]string{"body.txt": "from a file"}, Trips: 5, ActTrips: 5}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			host := network(t, httptest.NewServer(service(t))).Write("/srv/body", "from the host")
			r := once(t, URI(), c.args, host, setup)
			for field, want := range c.want {
				equal(t, field, string(unescaped([]byte(r.Get(field)))), want)
			}
			equal(t, "unknown in check mode", r.Unknown, strings.Contains(c.args, "POST") || strings.Contains(c.args, "PUT"))
			equal(t, "changed", len(r.Diff) > 0, false)
		})
	}
}

func TestURIWritesAnAnswer(t *testing.T) {
	host := network(t, httptest.NewServer(service(t)))
	setup := modtest.Setup{Trips: 3, ActTrips: 4}
	r := once(t, URI(), `{"url": "http://web/file", "dest": "/srv/f", "mode": "0600", "return_content": true}`, host, setup)
	equal(t, "file", host.Content("/srv/f"), "content\n")
	equal(t, "mode", host.File("/srv/f").Mode, 0o600)
	equal(t, "path", r.Get("path"), `"/srv/f"`)
	equal(t, "content", r.Get("content"), `"content\n"`)
	r = once(t, URI(), `{"url": "http://web/named", "dest": "/srv"}`, host, setup)
	equal(t, "path", r.Get("path"), `"/srv/given.txt"`)
	host.Write("/srv/newer", "newer than the server's")
	r = once(t, URI(), `{"url": "http://web/file", "dest": "/srv/newer"}`, host, setup)
	equal(t, "status where nothing is new", r.Get("status")+host.Content("/srv/newer"), "304newer than the server's")
	once(t, URI(), `{"url": "http://web/file", "dest": "/srv/newer", "force": true}`, host, setup)
	equal(t, "file", host.Content("/srv/newer"), "content\n")
	setup.Repeats, setup.ActTrips = true, 6
	r = once(t, URI(), `{"url": "http://web/json", "method": "POST", "dest": "/srv/p"}`, host, setup)
	equal(t, "unknown in check mode", r.Unknown, true)
	equal(t, "file", strings.Contains(host.Content("/srv/p"), `"POST"`), true)
}

func TestURIRegistersWhatFailed(t *testing.T) {
	host := network(t, httptest.NewServer(service(t)))
	for args, want := range map[string]string{
		`{"url": "http://web/gone", "return_content": true}`: "410",
		`{"url": "http://none/x"}`:                           "-1",
		`{"url": "http://web/silent", "timeout": 0.1}`:       "-1",
		`{"url": "http://web/gone", "method": "POST"}`:       "410",
	} {
		r, err := perform(t, URI(), args, host, modtest.Setup{})
		if err == nil || r.Get("status") != want || !strings.Contains(r.Get("msg"), "and not [200]") {
			t.Errorf("%s gives %s, %v", args, r.Output, err)
		}
	}
	for _, args := range []string{`{"url": "http://web/file", "creates": "/srv"}`, `{"url": "http://web/file", "removes": "/none"}`} {
		if r := once(t, URI(), args, host, modtest.Setup{}); !r.Skip {
			t.Errorf("%s does not skip", args)
		}
	}
	modtest.Errors(t, URI(), []modtest.ErrorCase{
		{Name: "method", Args: `{"url": "http://web/file", "method": "get it"}`, Want: "in capitals"},
		{Name: "both", Args: `{"url": "http://web/file", "body": "x", "src": "y"}`, Want: "exclude each other"},
		{Name: "no form", Args: `{"url": "http://web/file", "method": "POST", "body_format": "form-urlencoded", "body": [1]}`, Want: "as a form"},
		{Name: "cut connection", Args: `{"url": "http://web/file"}`, Host: cut(), Want: "cannot be reached"},
		{Name: "no file", Args: `{"url": "http://web/file", "method": "POST", "src": "/none", "remote_src": true}`, Host: host, Want: "no such file on the host"},
	})
}
