package builtin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// httpArgs are what get_url and uri share.
type httpArgs struct {
	URL            string            `arg:"url,required" doc:"the address, http or https"`
	Headers        map[string]string `arg:"headers" doc:"headers to send"`
	Unredirected   []string          `arg:"unredirected_headers" doc:"headers that are not sent on to where a redirection leads"`
	Agent          string            `arg:"http_agent" default:"pegbook" doc:"what the request says it comes from"`
	ForceBasicAuth bool              `arg:"force_basic_auth" doc:"whether user and password are sent with the first request, and not only when the server asks for them"`
	ValidateCerts  bool              `arg:"validate_certs" default:"true" doc:"whether the server's certificate is checked, against those that the host trusts"`
	CAPath         string            `arg:"ca_path,path" doc:"a file on the host with the certificates to trust, in place of the host's own"`
	ClientCert     string            `arg:"client_cert,path" doc:"a file on the host with the certificate to show, and its key unless client_key is given"`
	ClientKey      string            `arg:"client_key,path" doc:"a file on the host with the key of client_cert"`
	Decompress     bool              `arg:"decompress" default:"true" doc:"whether what the server compressed on its way is unpacked"`
	Proxy          string            `arg:"proxy" doc:"the address of an HTTP proxy, as seen from the host"`
	UseProxy       *bool             `arg:"use_proxy" doc:"whether proxy is used; proxies of environment variables never are"`
}

// web makes requests from the network of a host.
type web struct {
	args           httpArgs
	host           modules.Host
	user, password string
	timeout        time.Duration
	redirects      string
}

// answer is a response whose body is read through a watch over its progress.
type answer struct {
	*http.Response
	stop func()
}

// Close ends the reading.
func (a *answer) Close() {
	a.Body.Close()
	a.stop()
}

// request is one request to make.
type request struct {
	method string
	body   modules.Source // nil: none
	header http.Header
}

// address reads the URL; user and password in it count unless arguments give them.
func (w *web) address() (*url.URL, error) {
	u, err := url.Parse(w.args.URL)
	wrong := func(problem, hint string) error {
		return &modules.ArgumentError{Arg: "url", Problem: problem, Hint: hint}
	}
	switch {
	case err != nil:
		return nil, wrong("url is no address", "write http://HOST/PATH or https://HOST/PATH")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, wrong(fmt.Sprintf("url begins with %q", u.Scheme), "write http:// or https://; for files of the host itself use copy with remote_src")
	case u.Host == "":
		return nil, wrong("url names no host", "write http://HOST/PATH or https://HOST/PATH")
	}
	if u.User != nil && w.user == "" {
		w.user = u.User.Username()
		w.password, _ = u.User.Password()
	}
	u.User = nil
	return u, nil
}

// do makes a request. The answer comes whatever its status; it must be closed.
func (w *web) do(ctx context.Context, r request) (*answer, error) {
	u, err := w.address()
	if err != nil {
		return nil, err
	}
	transport, err := w.transport(ctx, u)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	watch := time.AfterFunc(w.timeout, func() { cancel(fmt.Errorf("nothing came for %s", w.timeout)) })
	stop := func() {
		watch.Stop()
		cancel(nil)
		transport.CloseIdleConnections()
	}
	response, err := w.send(ctx, &http.Client{Transport: transport, CheckRedirect: w.redirect}, u, r)
	if err != nil {
		cause := context.Cause(ctx)
		stop()
		return nil, w.failed(u, err, cause)
	}
	response.Body = &watched{ReadCloser: response.Body, ctx: ctx, progress: func() { watch.Reset(w.timeout) }}
	return &answer{response, stop}, nil
}

// send makes the request, and once more with user and password where the server asks for them.
func (w *web) send(ctx context.Context, client *http.Client, u *url.URL, r request) (*http.Response, error) {
	for authorized := w.args.ForceBasicAuth; ; authorized = true {
		q, err := w.build(ctx, u, r)
		if err != nil {
			return nil, err
		}
		if authorized && w.user != "" {
			q.SetBasicAuth(w.user, w.password)
		}
		response, err := client.Do(q)
		if err != nil || response.StatusCode != http.StatusUnauthorized || authorized || w.user == "" {
			return response, err
		}
		response.Body.Close()
	}
}

func (w *web) build(ctx context.Context, u *url.URL, r request) (*http.Request, error) {
	q, err := http.NewRequestWithContext(ctx, r.method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if r.body != nil {
		q.ContentLength, q.GetBody = r.body.Size(), r.body.Open
		if q.Body, err = r.body.Open(); err != nil {
			return nil, err
		}
	}
	for name, values := range r.header {
		q.Header[name] = values
	}
	q.Header.Set("User-Agent", w.args.Agent)
	for name, value := range w.args.Headers {
		if strings.EqualFold(name, "Host") {
			q.Host = value
		}
		q.Header.Set(name, value)
	}
	return q, nil
}

// transport connects from the host.
func (w *web) transport(ctx context.Context, u *url.URL) (*http.Transport, error) {
	t := &http.Transport{DialContext: w.host.Dial, DisableKeepAlives: true, DisableCompression: !w.args.Decompress, ForceAttemptHTTP2: true}
	if w.args.Proxy != "" && (w.args.UseProxy == nil || *w.args.UseProxy) {
		proxy, err := url.Parse(w.args.Proxy)
		if err != nil || proxy.Host == "" {
			return nil, &modules.ArgumentError{Arg: "proxy", Problem: "proxy is no address", Hint: "write http://HOST:PORT"}
		}
		t.Proxy = http.ProxyURL(proxy)
	}
	if w.args.UseProxy != nil && *w.args.UseProxy && w.args.Proxy == "" {
		return nil, &modules.ArgumentError{Arg: "use_proxy", Problem: "use_proxy is set and proxy is not", Hint: "write proxy: http://HOST:PORT"}
	}
	var err error
	// A redirection may lead from http to https, too.
	t.TLSClientConfig, err = w.tls(ctx, u)
	return t, err
}

// trusted are the files that distributions keep trusted certificates in.
func trusted() []string {
	return []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}
}

const maxCertificates = 4 << 20

// tls reads what the host trusts, and what it is to show: one round trip, and none for http without
// certificates, where a redirection to https is checked against what the control node trusts.
func (w *web) tls(ctx context.Context, u *url.URL) (*tls.Config, error) {
	config := &tls.Config{InsecureSkipVerify: !w.args.ValidateCerts} //nolint:gosec // only where the task says so
	var paths []string
	if w.args.ValidateCerts && w.args.CAPath != "" {
		paths = []string{w.args.CAPath}
	} else if w.args.ValidateCerts && u.Scheme == "https" {
		paths = trusted()
	}
	roots := len(paths)
	if w.args.ClientCert != "" {
		paths = append(paths, w.args.ClientCert, or(w.args.ClientKey, w.args.ClientCert))
	}
	if len(paths) == 0 {
		return config, nil
	}
	queries := make([]modules.Query, len(paths))
	for i, p := range paths {
		queries[i] = modules.Query{Path: p, Follow: true, Content: maxCertificates}
	}
	files, err := w.host.Look(ctx, queries...)
	if err != nil {
		return nil, err
	}
	if err := w.trust(config, files[:roots]); err != nil {
		return nil, err
	}
	if w.args.ClientCert != "" {
		pair, err := tls.X509KeyPair(files[roots].Content, files[roots+1].Content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.args.ClientCert, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// trust takes the certificates of the first file that has some. A host that has none trusts what the control
// node does.
func (w *web) trust(config *tls.Config, files []modules.File) error {
	for _, f := range files {
		pool := x509.NewCertPool()
		if pool.AppendCertsFromPEM(f.Content) {
			config.RootCAs = pool
			return nil
		}
	}
	if w.args.CAPath != "" && w.args.ValidateCerts {
		return fmt.Errorf("%s on the host holds no certificates", w.args.CAPath)
	}
	return nil
}

// maxRedirects is where the browsers give up.
const maxRedirects = 20

func (w *web) redirect(q *http.Request, via []*http.Request) error {
	switch {
	case w.redirects == "none" || w.redirects == "no":
		return http.ErrUseLastResponse
	case w.redirects == "safe" && via[0].Method != http.MethodGet && via[0].Method != http.MethodHead:
		return http.ErrUseLastResponse
	case len(via) > maxRedirects:
		return fmt.Errorf("it is redirected more than %d times", maxRedirects)
	}
	for _, name := range w.args.Unredirected {
		q.Header.Del(name)
	}
	return nil
}

// failed words a request that got no answer.
func (w *web) failed(u *url.URL, err, cause error) error {
	if cause != nil {
		return fmt.Errorf("%s: %w", u, cause)
	}
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fmt.Errorf("%s: %w; make the host trust it, or set ca_path", u, err)
	}
	return fmt.Errorf("%s: %w", u, err)
}

// watched is a body that tells when it makes progress, and why it ended.
type watched struct {
	io.ReadCloser
	ctx      context.Context //nolint:containedctx // that of the request whose body it is
	progress func()
}

// Read implements io.Reader.
func (w *watched) Read(b []byte) (int, error) {
	n, err := w.ReadCloser.Read(b)
	switch {
	case err == nil:
		w.progress()
	case !errors.Is(err, io.EOF):
		if cause := context.Cause(w.ctx); cause != nil {
			err = cause
		}
	}
	return n, err
}

// readingMethod says whether a request only reads, so that a proposal may make it.
func readingMethod(method string) bool {
	return slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, method)
}

func isUnreachable(err error) bool {
	var unreachable *modules.UnreachableError
	return errors.As(err, &unreachable)
}

func isUnpredicted(err error) bool { return errors.Is(err, modules.ErrUnpredicted) }
