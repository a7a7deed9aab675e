package builtin

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/pegbook/pegbook/modules"
)

// GetURL downloads a file.
func GetURL() *modules.Module {
	return modules.Define("get_url", `Download a file to a host

The request goes out from the managed host's network, through pegbook's own connection to it; the content
passes the control node's disk. It is compared and replaced as copy does. A file that is there is asked
for with the time of its last change, so a server that knows better answers that nothing is new; with a
checksum that it has already, it is not asked for at all. Check mode downloads too, or it could not tell.
The checksums it registers are SHA-256.

    - name: package
      get_url:
        url: https://downloads.example.org/app-1.2.tar.gz
        dest: /opt/app-1.2.tar.gz
        checksum: sha256:https://downloads.example.org/SHA256SUMS
        mode: "0644"`, proposeGetURL)
}

type getURLArgs struct {
	httpArgs
	Dest     string        `arg:"dest,path,required" doc:"the file on the host; when it is a folder, the file keeps the name that the server gives it"`
	Checksum string        `arg:"checksum" doc:"what the file must have: ALGORITHM:DIGEST, or ALGORITHM:URL of a file that lists it (md5, sha1, sha224, sha256, sha384, sha512)"`
	Force    bool          `arg:"force" doc:"whether to download even when the file is there and nothing is new"`
	Backup   bool          `arg:"backup" doc:"whether a file that is replaced is kept beside it, with the time in its name"`
	Timeout  time.Duration `arg:"timeout" default:"10" doc:"how long nothing may come"`
	Username string        `arg:"url_username,alias=username" doc:"user for basic authentication"`
	Password string        `arg:"url_password,secret,alias=password" doc:"password for basic authentication"`
	ownership
}

// gotten is what get_url registers.
type gotten struct {
	URL        string  `json:"url"`
	Dest       string  `json:"dest"`
	ChecksumS  string  `json:"checksum_src,omitempty"`
	ChecksumD  string  `json:"checksum_dest,omitempty"`
	Elapsed    float64 `json:"elapsed"` // seconds
	StatusCode int     `json:"status_code,omitempty"`
	Msg        string  `json:"msg"`
	Size       int64   `json:"size,omitempty"`
	Mode       string  `json:"mode,omitempty"`
	BackupFile string  `json:"backup_file,omitempty"`
}

// download is one get_url at work.
type downloading struct {
	args      getURLArgs
	web       *web
	algorithm string
	digest    string // empty: any will do
	out       *gotten
}

func proposeGetURL(ctx context.Context, call *modules.Call, args getURLArgs) (*modules.Proposal, error) {
	d := &downloading{args: args, out: &gotten{URL: args.URL, Dest: args.Dest}}
	d.web = &web{args: args.httpArgs, host: call.Host, user: args.Username, password: args.Password, timeout: args.Timeout, redirects: "all"}
	if u, err := d.web.address(); err != nil {
		return nil, err
	} else {
		d.out.URL = u.String()
	}
	if err := d.readChecksum(ctx); err != nil {
		return nil, err
	}
	dest := path.Clean(args.Dest)
	files, err := call.Host.Look(ctx, modules.Query{Path: dest, Follow: true, Sum: true})
	if err != nil {
		return nil, err
	}
	f := files[0]
	if f.Kind == modules.Missing && strings.HasSuffix(args.Dest, "/") {
		return nil, fmt.Errorf("%s is not there; make the folder with file first", args.Dest)
	}
	force := args.Force
	if f.Kind == modules.Regular && d.digest != "" && !force {
		has, err := d.has(ctx, call.Host, f)
		if err != nil {
			return nil, err
		}
		if has {
			return d.stays(f, "file already exists"), nil
		}
		force = true
	}
	return d.propose(ctx, call, f, force)
}

// has says whether the file on the host has the checksum that is asked for.
func (d *downloading) has(ctx context.Context, host modules.Host, f modules.File) (bool, error) {
	sum := f.Sum
	if d.algorithm != "sha256" {
		var err error
		if sum, err = digestOn(ctx, host, d.algorithm, f.Path); err != nil {
			return false, err
		}
	}
	return sum == d.digest, nil
}

// stays is a file whose content is right.
func (d *downloading) stays(f modules.File, msg string) *modules.Proposal {
	attributes, diffs := d.args.differ(f)
	d.out.Msg, d.out.ChecksumD, d.out.Size = msg, f.Sum, f.Size
	p := &modules.Proposal{Diff: diffs, Output: d.out, Message: msg}
	if len(diffs) > 0 {
		p.Do = apply(modules.Change{Kind: modules.SetAttributes, Path: f.Path, Attributes: attributes})
	}
	return p
}

func (d *downloading) propose(ctx context.Context, call *modules.Call, f modules.File, force bool) (*modules.Proposal, error) {
	header := http.Header{}
	if f.Kind == modules.Regular && !force {
		header.Set("If-Modified-Since", f.Modified.UTC().Format(http.TimeFormat))
	}
	call.Note("downloads %s", d.out.URL)
	began := time.Now()
	answer, err := d.web.do(ctx, request{method: http.MethodGet, header: header})
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	d.out.StatusCode, d.out.Msg = answer.StatusCode, answerText(answer)
	switch {
	case answer.StatusCode == http.StatusNotModified && f.Kind == modules.Regular:
		return d.stays(f, d.out.Msg), nil
	case answer.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: the server answers %s", d.out.URL, answer.Status)
	}
	source, err := d.take(answer)
	if err != nil {
		return nil, err
	}
	d.out.Elapsed = time.Since(began).Round(time.Millisecond).Seconds()
	w := writing{dest: d.args.Dest, source: source, ownership: d.args.ownership, backup: d.args.Backup}
	if f.Kind == modules.Directory {
		w.base = nameOf(answer)
	}
	return d.write(ctx, call, w)
}

// take reads the answer to its end and compares its checksum.
func (d *downloading) take(answer *answer) (*spooled, error) {
	h := newHash(or(d.algorithm, "sha256"))
	source, err := spool(d.out.URL, answer.Body, h)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.out.URL, err)
	}
	if answer.ContentLength >= 0 && answer.ContentLength != source.size {
		return nil, fmt.Errorf("%s: %d bytes came of %d", d.out.URL, source.size, answer.ContentLength)
	}
	if found := hex.EncodeToString(h.Sum(nil)); d.digest != "" && found != d.digest {
		return nil, fmt.Errorf("%s: the checksum is %s, not %s", d.out.URL, found, d.digest)
	}
	return source, nil
}

func (d *downloading) write(ctx context.Context, call *modules.Call, w writing) (*modules.Proposal, error) {
	f, inFolder, err := w.look(ctx, call.Host)
	if err != nil {
		return nil, err
	}
	kept := &written{}
	p, err := w.over(f, inFolder, kept)
	if err != nil {
		return nil, err
	}
	d.out.Dest, d.out.ChecksumS, d.out.ChecksumD = kept.Dest, kept.Checksum, f.Sum
	d.out.Size, d.out.Mode, d.out.BackupFile = kept.Size, kept.Mode, kept.BackupFile
	p.Output, p.Message = d.out, d.out.Msg
	return p, nil
}

// answerText is how Ansible words an answer.
func answerText(a *answer) string {
	if a.StatusCode == http.StatusOK {
		return fmt.Sprintf("OK (%s bytes)", or(a.Header.Get("Content-Length"), "unknown"))
	}
	return fmt.Sprintf("HTTP Error %d: %s", a.StatusCode, http.StatusText(a.StatusCode))
}

// nameOf is the file's name as the server gives it, or else the address that it came from at last: a name
// and nothing that leads elsewhere.
func nameOf(a *answer) string {
	name := ""
	if _, params, err := mime.ParseMediaType(a.Header.Get("Content-Disposition")); err == nil {
		name = path.Base("/" + params["filename"])
	}
	if name == "" || name == "/" {
		name = path.Base("/" + a.Request.URL.Path)
	}
	if name == "/" || name == "." || name == ".." || strings.ContainsAny(name, "\x00\n") {
		name = "index.html"
	}
	return name
}

// maxChecksums bounds a file of checksums.
const maxChecksums = 4 << 20

// readChecksum reads the argument, and the file that it points to.
func (d *downloading) readChecksum(ctx context.Context) error {
	if d.args.Checksum == "" {
		return nil
	}
	algorithm, digest, ok := strings.Cut(d.args.Checksum, ":")
	wrong := func(problem string) error {
		return &modules.ArgumentError{Arg: "checksum", Problem: problem, Hint: "write sha256:DIGEST, or sha256:URL of a file that lists it"}
	}
	h := newHash(algorithm)
	if !ok || h == nil {
		return wrong("checksum does not begin with an algorithm that is known")
	}
	if strings.HasPrefix(digest, "http://") || strings.HasPrefix(digest, "https://") {
		var err error
		if digest, err = d.listed(ctx, digest); err != nil {
			return err
		}
	}
	digest = strings.ToLower(regexp.MustCompile(`\W+`).ReplaceAllString(digest, ""))
	if raw, err := hex.DecodeString(digest); err != nil || len(raw) != h.Size() {
		return wrong(fmt.Sprintf("%q is no %s", digest, algorithm))
	}
	d.algorithm, d.digest = algorithm, digest
	return nil
}

// listed finds the file's checksum in a list that is downloaded.
func (d *downloading) listed(ctx context.Context, address string) (string, error) {
	list := *d.web
	list.args.URL = address
	if u, err := url.Parse(address); err != nil || !strings.HasPrefix(d.out.URL, u.Scheme+"://"+u.Host+"/") {
		list.user, list.password = "", "" // they are for the server of the file
	}
	answer, err := list.do(ctx, request{method: http.MethodGet})
	if err != nil {
		return "", err
	}
	defer answer.Close()
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: the server answers %s", address, answer.Status)
	}
	content, err := io.ReadAll(io.LimitReader(answer.Body, maxChecksums))
	if err != nil {
		return "", fmt.Errorf("%s: %w", address, err)
	}
	name := path.Base(d.out.URL)
	if i := strings.IndexAny(name, "?#"); i >= 0 {
		name = name[:i]
	}
	digest, ok := listedChecksum(string(content), name)
	if !ok {
		return "", fmt.Errorf("%s lists no checksum of %s", address, name)
	}
	return digest, nil
}

// listedChecksum looks for a file in a list as sha256sum writes it. A list of nothing but one digest is the
// file's.
func listedChecksum(list, name string) (string, bool) {
	rows := lines(list)
	if len(rows) == 1 && len(strings.Fields(rows[0])) == 1 {
		return strings.TrimSpace(rows[0]), true
	}
	for _, row := range rows {
		digest, file, _ := strings.Cut(row, " ")
		file = strings.TrimLeft(strings.TrimLeft(strings.TrimPrefix(strings.TrimPrefix(file, " "), "*"), "./"), " ")
		if file == name {
			return digest, true
		}
	}
	return "", false
}
