package wire

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// exchange is a recorded request with its answer, byte for byte from a real 2.5.0 cluster.
type exchange struct {
	Name, Code, Role, Address, Outcome string
	Request, Response                  hexBytes
	Multi                              bool
	Answers                            []hexBytes
	AliveAfter                         bool `json:"alive_after"`
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

func recorded(t testing.TB) []exchange {
	t.Helper()
	f, err := os.Open("testdata/frames.jsonl")
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	var all []exchange
	for d := json.NewDecoder(f); d.More(); {
		var e exchange
		require.NoError(t, d.Decode(&e))
		all = append(all, e)
	}
	require.Len(t, all, 324)
	return all
}

func incoming(b []byte) (*Incoming, *bufio.Reader, error) {
	r := bufio.NewReader(bytes.NewReader(b))
	in, err := ReadIncoming(r, 0)
	return in, r, err
}

// oddRequests are recorded on purpose with something that our own encoding never has.
func oddRequest(name string) string {
	return map[string]string{
		"raw-args-field-id-5":            "the argument in field 5",
		"raw-message-type-oneway":        "a message of type oneway",
		"raw-unknown-request-fields":     "fields that the struct does not have",
		"raw-request-field-wrong-type":   "a field of another type",
		"raw-query_cfg-no-indices-field": "a field left out",
		"raw-cli-no-arguments-field":     "a field left out",
		"raw-query_replica_info-no-arg":  "a field left out",
		"raw-v1-header":                  "version 1 of the header",
		"raw-v1-header-get":              "version 1 of the header",
		"raw-hazard-non-strict-message":  "the old form of the message",
	}[name]
}

func TestEveryRecordedRequest(t *testing.T) {
	same, unknown, odd := 0, 0, 0
	for _, e := range recorded(t) {
		if e.Multi && oddRequest(e.Name) == "" {
			continue
		}
		t.Run(e.Name, func(t *testing.T) {
			in, rest, err := incoming(e.Request)
			if e.Name == "raw-get-empty-key" {
				require.ErrorContains(t, err, "empty key", "it aborted the server")
				return
			}
			require.NoError(t, err)
			_, err = rest.ReadByte()
			require.ErrorIs(t, err, io.EOF, "bytes behind the request")
			if in.Request == nil {
				unknown++
				require.Contains(t, []string{"RPC_NO_SUCH_CODE", "RPC_QUERY_DISK_INFO"}, string(in.Code))
				return
			}
			require.Equal(t, e.Code, string(in.Code))
			again := encodeTHFT(in.Header, in.Seq, in.Request)
			if in.rdsn != nil {
				c := &coder{}
				c.wrapped(0, in.Request)
				again = append(bytes.Clone(e.Request[:rdsnHeaderLen]), c.out...)
			}
			if oddRequest(e.Name) != "" {
				odd++
				require.NotEqual(t, []byte(e.Request), again)
				return
			}
			same++
			require.Equal(t, hex.EncodeToString(e.Request), hex.EncodeToString(again))
		})
	}
	t.Logf("%d byte for byte, %d unknown procedures, %d odd ones decoded", same, unknown, odd)
	assert.Greater(t, same, 270)
}

func TestEveryRecordedAnswer(t *testing.T) {
	same := 0
	for _, e := range recorded(t) {
		answers := e.Answers
		if !e.Multi && len(e.Response) > 0 {
			answers = []hexBytes{e.Response}
		}
		if len(answers) == 0 {
			continue
		}
		t.Run(e.Name, func(t *testing.T) {
			if bytes.HasPrefix(e.Request, []byte(magicRDSN)) {
				sameRDSN(t, e)
				same++
				return
			}
			for _, raw := range answers {
				r := bytes.NewReader(raw)
				a, err := ReadAnswer(r)
				require.NoError(t, err)
				require.Zero(t, r.Len())
				var reply Reply
				if req := newRequest(a.Code); req != nil && a.Err == OK {
					reply = req.newReply()
					require.NoError(t, a.Decode(reply))
				}
				if newRequest(a.Code) == nil && a.Err == OK {
					require.Equal(t, "RPC_QUERY_DISK_INFO", string(a.Code))
					continue
				}
				same++
				require.Equal(t, hex.EncodeToString(raw), hex.EncodeToString(encodeTHFTReply(a.Code, a.Seq, a.Err, reply)))
			}
		})
	}
	t.Logf("%d answers byte for byte", same)
	assert.Greater(t, same, 280)
}

// sameRDSN answers a recorded request of the C++ shell as the recorded server did.
func sameRDSN(t *testing.T, e exchange) {
	in, _, err := incoming(e.Request)
	require.NoError(t, err)
	in.self, err = ParseAddress(e.Address)
	require.NoError(t, err)
	h := (*rdsnHeader)(e.Response[:rdsnHeaderLen])
	body := e.Response[rdsnHeaderLen:]
	var got []byte
	switch code := ErrorCode(h.name(136)); code {
	case OK:
		c := &coder{decoding: true, in: body}
		reply := in.NewReply()
		c.unwrap(reply)
		require.NoError(t, c.err)
		got = in.Reply(OK, reply)
	case ForwardToOthers:
		var leader Address
		c := &coder{decoding: true, in: body[3:]}
		c.u64((*uint64)(&leader))
		got = in.ForwardReply(leader)
	default:
		got = in.Reply(code, nil)
	}
	require.Equal(t, hex.EncodeToString(e.Response), hex.EncodeToString(got))
}

// TestHazards: what made a real server abort is a fatal frame, or a header that data requests alone
// may have; what it merely closed the connection on is not fatal.
func TestHazards(t *testing.T) {
	seen := 0
	for _, e := range recorded(t) {
		if !e.Multi || e.AliveAfter {
			continue
		}
		seen++
		in, _, err := incoming(e.Request)
		var bad *FrameError
		switch {
		case err == nil:
			assert.Positive(t, in.PID.App, "%s decoded without complaint", e.Name)
		case errors.As(err, &bad):
			assert.True(t, bad.Fatal, "%s: %v", e.Name, err)
		default:
			t.Errorf("%s: %v", e.Name, err)
		}
	}
	assert.Greater(t, seen, 6)
	for _, name := range []string{"raw-bad-hdr-length-40", "raw-bad-hdr-version-7", "raw-bad-message-type-reply", "raw-garbage-text"} {
		for _, e := range recorded(t) {
			if e.Name != name {
				continue
			}
			_, _, err := incoming(e.Request)
			var bad *FrameError
			require.ErrorAs(t, err, &bad, name)
			assert.False(t, bad.Fatal, name)
		}
	}
}

func TestVectors(t *testing.T) {
	body := func(b []byte) string { return hex.EncodeToString(b[thftHeaderLen:]) }
	a1, err := ParseAddress("127.0.0.1:34801")
	require.NoError(t, err)
	a2, err := ParseAddress("127.0.0.1:34802")
	require.NoError(t, err)
	n1, n2 := Node{Address: a1}, Node{Address: a2}
	assert.Equal(t, "544846540000000000000030000000000000002400000000000000000000000000001388000000000000000000000000"+
		"80010001000000135250435f434d5f434c55535445525f494e464f000000010c00010000",
		hex.EncodeToString(EncodeAdmin(1, 5*time.Second, &ClusterInfoRequest{})))
	for want, got := range map[string][]byte{
		"80010001000000115250435f434d5f4c4953545f4e4f444553000000010c0001080001000000000000":                                                                   EncodeAdmin(1, 0, &ListNodesRequest{}),
		"80010001000000105250435f434d5f4c4953545f41505053000000010c0001080001000000010000":                                                                     EncodeAdmin(1, 0, &ListAppsRequest{Status: AppAvailable}),
		"80010001000000265250435f434d5f51554552595f504152544954494f4e5f434f4e4649475f42595f494e444558000000010c00010b00010000000474656d700f000208000000000000": EncodeAdmin(1, 0, &QueryConfigRequest{AppName: "temp"}),
		"80010001000000135250435f434d5f434f4e54524f4c5f4d455441000000010c0001080001000001900000":                                                               EncodeAdmin(1, 0, &ControlMetaRequest{Level: LevelSteady}),
		"80010001000000175250435f434d5f50524f504f53455f42414c414e434552000000010c00010c000100000003000000020f00020c000000020c00017f00000187f100010c00027f00000187f1000108000300000005000c00017f00000187f200010c00027f00000187f2000108000300000002000000": EncodeAdmin(1, 0, &ProposeRequest{
			PID: GPID{2, 3}, Actions: []ProposalAction{{n1, n1, DowngradeToSecondary}, {n2, n2, UpgradeToPrimary}}}),
		"80010001000000105250435f434c495f434c495f43414c4c000000010c00010b0001000000176d6574612e6c622e61737369676e5f64656c61795f6d730f00020b0000000100000007333630303030300000": EncodeAdmin(1, 0, &CommandRequest{
			Command: "meta.lb.assign_delay_ms", Arguments: []string{"3600000"}}),
	} {
		assert.Equal(t, want, body(got))
	}
}

func TestDataRequests(t *testing.T) {
	key, err := NewKey([]byte("hashkey"), []byte("sortkey"))
	require.NoError(t, err)
	assert.Equal(t, uint64(0x1299d9b06672773a), key.Hash())
	table := Table{ID: 3, PartitionCount: 4}
	assert.Equal(t, GPID{3, 2}, table.Partition(key))
	b, err := EncodeData(0, 5*time.Second, table, &GetRequest{Key: key})
	require.NoError(t, err)
	for _, e := range recorded(t) {
		if e.Name == "raw-get-ok" {
			in, _, err := incoming(e.Request)
			require.NoError(t, err)
			assert.Equal(t, []byte(e.Request), encodeTHFT(in.Header, in.Seq, &GetRequest{Key: key}))
			assert.Equal(t, []byte(e.Request)[:thftHeaderLen], b[:thftHeaderLen])
		}
	}
	_, err = NewKey(nil, nil)
	assert.Error(t, err)
	_, err = EncodeData(1, 0, table, &GetRequest{})
	assert.Error(t, err, "a request without a key")
	_, err = EncodeData(1, 0, Table{}, &GetRequest{Key: key})
	assert.Error(t, err, "a request without a table")
}

// TestHostPorts: the fields of 2.6 are written when they are there and survive the way back.
func TestHostPorts(t *testing.T) {
	hp := &HostPort{Host: "r1.example", Port: 34801, Kind: 1}
	a, err := ParseAddress("10.0.0.1:34801")
	require.NoError(t, err)
	n := Node{Address: a, HostPort: hp}
	req := &ProposeRequest{PID: GPID{2, 3}, Actions: []ProposalAction{{n, n, DowngradeToInactive}}}
	in, _, err := incoming(EncodeAdmin(1, 0, req))
	require.NoError(t, err)
	assert.Equal(t, req, in.Request)
	cfg := &QueryConfigResponse{Err: OK, AppID: 2, PartitionCount: 1, Partitions: []PartitionConfig{{
		PID: GPID{2, 0}, Primary: a, Secondaries: []Address{a}, LastDrops: []Address{},
		HPPrimary: hp, HPSecondaries: []HostPort{*hp}, HPLastDrops: []HostPort{}}}}
	ans, err := ReadAnswer(bytes.NewReader(encodeTHFTReply(CodeQueryConfig, 1, OK, cfg)))
	require.NoError(t, err)
	got := &QueryConfigResponse{}
	require.NoError(t, ans.Decode(got))
	assert.Equal(t, cfg, got)
	assert.Equal(t, "r1.example:34801", n.String())
}

// TestUnknownFields: plain ones of a newer server are passed over, a struct is refused by name.
func TestUnknownFields(t *testing.T) {
	answer := func(extra string) error {
		raw, err := hex.DecodeString("0c0000" + "0c0001000000064552525f4f4b" + extra + "0000")
		require.NoError(t, err)
		return (&Answer{Err: OK, body: raw}).Decode(&DropAppResponse{})
	}
	assert.NoError(t, answer(""))
	assert.NoError(t, answer("0b0063"+"00000001"+"61"+"0f0064"+"0b"+"00000001"+"00000000"+"0d0065"+"0808"+"00000001"+"0000000100000002"))
	assert.ErrorContains(t, answer("0c0063"+"7f000001872a0001"), "newer server")
}

func TestHostileLengths(t *testing.T) {
	for _, name := range []string{"raw-hazard-huge-list", "raw-hazard-name-length-2GB"} {
		for _, e := range recorded(t) {
			if e.Name != name {
				continue
			}
			allocated := testing.AllocsPerRun(1, func() {
				_, _, err := incoming(e.Request)
				assert.Error(t, err)
			})
			assert.Less(t, allocated, 100.0)
		}
	}
	_, err := ReadAnswer(strings.NewReader("\x7f\xff\xff\xff"))
	var bad *FrameError
	assert.ErrorAs(t, err, &bad)
	_, err = ReadAnswer(strings.NewReader("\x01\xff\xff\xff..."))
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestParseGPID(t *testing.T) {
	g, err := ParseGPID("2.13")
	require.NoError(t, err)
	assert.Equal(t, GPID{2, 13}, g)
	for _, bad := range []string{"", "2", "2.", "2.3.4", "0.1", "-1.2", "2.-1", "2.3x"} {
		_, err := ParseGPID(bad)
		assert.Error(t, err, bad)
	}
}

func FuzzReadIncoming(f *testing.F) {
	for i, e := range recorded(f) {
		if i%6 == 0 {
			f.Add([]byte(e.Request))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in, _, err := incoming(b)
		if err != nil || in.Request == nil {
			return
		}
		again := encodeTHFT(in.Header, in.Seq, in.Request)
		second, _, err := incoming(again)
		require.NoError(t, err)
		require.Equal(t, again, encodeTHFT(second.Header, second.Seq, second.Request))
		in.Reply(OK, in.NewReply())
		in.ForwardReply(1)
	})
}

func FuzzReadAnswer(f *testing.F) {
	for i, e := range recorded(f) {
		if i%6 == 0 {
			f.Add([]byte(e.Response))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ReadAnswer(bytes.NewReader(b))
		if err != nil {
			return
		}
		if req := newRequest(a.Code); req != nil && a.Err == OK {
			reply := req.newReply()
			if a.Decode(reply) == nil {
				encodeTHFTReply(a.Code, a.Seq, a.Err, reply)
			}
		}
	})
}
