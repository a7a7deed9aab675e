package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/pegbook/pegbook/modules"
)

// supervisor speaks to a supervisord through its XML-RPC interface, as seen from the managed host.
type supervisor struct {
	host           modules.Host
	address        string
	user, password string
}

// fault is what supervisord answers instead of a result.
type fault struct {
	Code int
	Text string
}

func (f *fault) Error() string { return fmt.Sprintf("supervisord says %s (%d)", f.Text, f.Code) }

// Codes of supervisord's faults.
const (
	badName        = 10
	alreadyAdded   = 90
	alreadyStarted = 60
	notRunning     = 70
)

// value is one of XML-RPC's, as far as supervisord uses them.
type value struct {
	Text    string   `xml:",chardata"`
	String  *string  `xml:"string"`
	Int     *int     `xml:"int"`
	Array   []value  `xml:"array>data>value"`
	Members []member `xml:"struct>member"`
}

type member struct {
	Name  string `xml:"name"`
	Value value  `xml:"value"`
}

func (v value) text() string {
	if v.String != nil {
		return *v.String
	}
	return v.Text
}

func (v value) field(name string) value {
	for _, m := range v.Members {
		if m.Name == name {
			return m.Value
		}
	}
	return value{}
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 4 << 20

// call calls a method with texts and booleans.
func (s *supervisor) call(ctx context.Context, method string, params ...any) (value, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.address+"/RPC2", bytes.NewReader(encode(method, params)))
	if err != nil {
		return value{}, err
	}
	request.Header.Set("Content-Type", "text/xml")
	if s.user != "" {
		request.SetBasicAuth(s.user, s.password)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return s.host.Dial(ctx, network, address)
		}}}
	answer, err := client.Do(request)
	if err != nil {
		return value{}, fmt.Errorf("supervisord at %s: %w", s.address, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return value{}, err
	}
	if answer.StatusCode != http.StatusOK {
		return value{}, fmt.Errorf("supervisord at %s answers %s; are username and password right?", s.address, answer.Status)
	}
	return decode(body)
}

func encode(method string, params []any) []byte {
	var b bytes.Buffer
	b.WriteString("<?xml version='1.0'?><methodCall><methodName>" + method + "</methodName><params>")
	for _, p := range params {
		switch p := p.(type) {
		case bool:
			n := 0
			if p {
				n = 1
			}
			fmt.Fprintf(&b, "<param><value><boolean>%d</boolean></value></param>", n)
		case string:
			b.WriteString("<param><value><string>")
			_ = xml.EscapeText(&b, []byte(p)) // memory takes everything
			b.WriteString("</string></value></param>")
		}
	}
	b.WriteString("</params></methodCall>")
	return b.Bytes()
}

func decode(body []byte) (value, error) {
	var answer struct {
		Result value  `xml:"params>param>value"`
		Fault  *value `xml:"fault>value"`
	}
	if err := xml.Unmarshal(body, &answer); err != nil {
		return value{}, fmt.Errorf("supervisord's answer is no XML-RPC: %w", err)
	}
	if f := answer.Fault; f != nil {
		failed := &fault{Text: strings.TrimSpace(f.field("faultString").text())}
		if code := f.field("faultCode").Int; code != nil {
			failed.Code = *code
		}
		return value{}, failed
	}
	return answer.Result, nil
}
