package plugins

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/plugins/wire"
)

// shortContent is the most that travels within a message instead of as a stream.
const shortContent = 64 << 10

// contentToWire names content to the other side, and sends it along where it is short.
func (s *session) contentToWire(source modules.Source) *wire.Content {
	if source == nil {
		return nil
	}
	if theirs, ok := remoteOf(source); ok && theirs.session == s && theirs.number != 0 {
		return &wire.Content{Name: theirs.name, Size: theirs.size, Number: theirs.number, Yours: true}
	}
	c := &wire.Content{Name: source.Name(), Size: source.Size()}
	if mode, ok := modules.ModeOf(source); ok {
		c.Mode = &mode
	}
	if modules.Encrypted(source) {
		c.AsIs = s.contentToWire(modules.AsIs(source))
	}
	short := false
	if c.Size <= shortContent {
		inline, err := readShort(source)
		short = err == nil
		c.Inline = inline
	}
	if s.names || !short {
		s.mu.Lock()
		c.Number = s.number()
		s.contents[c.Number] = source
		s.mu.Unlock()
	}
	return c
}

// foundToWire is the content of a file of the host.
func (s *session) foundToWire(path string, content []byte) *wire.Content {
	if len(content) <= shortContent {
		return &wire.Content{Name: path, Size: int64(len(content)), Inline: content}
	}
	c := s.contentToWire(modules.Bytes(path, content))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found = append(s.found, c)
	s.foundBytes += c.Size
	for s.foundBytes > maxFound {
		s.forget(s.found[0].Number)
	}
	return c
}

// maxFound bounds the content of the host's files that is kept for the other side until it reads it: one that looks
// at a large file every second shall not cost more with each.
const maxFound = 64 << 20

// forget lets go of content of a file of the host. The caller holds mu.
func (s *session) forget(number uint64) {
	for i, c := range s.found {
		if c.Number == number {
			s.found = slices.Delete(s.found, i, i+1)
			s.foundBytes -= c.Size
			delete(s.contents, number)
			return
		}
	}
}

func readShort(source modules.Source) ([]byte, error) {
	r, err := source.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	content, err := io.ReadAll(io.LimitReader(r, shortContent+1))
	if err == nil && int64(len(content)) != source.Size() {
		err = errors.New("has another size now") // let whoever reads it meet that
	}
	return content, err
}

// owed says whether the other side has named content that can only be read as long as the stream lives.
func (s *session) owed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owes
}

// contentFromWire is content that the other side names.
func (s *session) contentFromWire(c *wire.Content) (modules.Source, error) {
	switch {
	case c == nil:
		return nil, nil
	case c.Yours:
		s.mu.Lock()
		source := s.contents[c.Number]
		s.mu.Unlock()
		if source == nil {
			return nil, fmt.Errorf("there is no content number %d", c.Number)
		}
		return source, nil
	case c.Size < 0:
		return nil, fmt.Errorf("content %s has %d bytes", c.Name, c.Size)
	case c.Number == 0 && int64(len(c.Inline)) != c.Size:
		return nil, fmt.Errorf("content %s has %d bytes and should have %d", c.Name, len(c.Inline), c.Size)
	}
	r := &remote{session: s, name: c.Name, size: c.Size, number: c.Number, mode: c.Mode}
	if int64(len(c.Inline)) == c.Size {
		r.inline, r.short = c.Inline, true
	} else {
		s.mu.Lock()
		s.owes = true
		s.mu.Unlock()
	}
	if c.AsIs == nil {
		return r, nil
	}
	asIs, err := s.contentFromWire(c.AsIs)
	if err != nil {
		return nil, err
	}
	return &decrypted{r, asIs}, nil
}

// remote is content that the other side holds.
type remote struct {
	*session
	name   string
	size   int64
	number uint64 // 0: all of it is here
	mode   *uint32
	inline []byte
	short  bool // inline is all of it

	once   sync.Once
	sum    string
	sumErr error
}

// decrypted is content that the other side has decrypted.
type decrypted struct {
	*remote
	asIs modules.Source
}

// AsIs is the encrypted file.
func (d *decrypted) AsIs() modules.Source { return d.asIs }

func remoteOf(source modules.Source) (*remote, bool) {
	switch s := source.(type) {
	case *remote:
		return s, true
	case *decrypted:
		return s.remote, true
	}
	return nil, false
}

func (r *remote) Name() string { return r.name }
func (r *remote) Size() int64  { return r.size }

// Mode is the permission bits of a file of the control node.
func (r *remote) Mode() (uint32, bool) {
	if r.mode == nil {
		return 0, false
	}
	return *r.mode, true
}

func (r *remote) SHA256() (string, error) {
	r.once.Do(func() {
		if r.short {
			sum := sha256.Sum256(r.inline)
			r.sum = hex.EncodeToString(sum[:])
			return
		}
		f, err := r.ask(r.link.Context(), &wire.Frame{Body: &wire.Frame_Sum{Sum: &wire.Sum{Number: r.number}}})
		if err != nil {
			r.sumErr = err
			return
		}
		r.sum = string(f.GetValue().GetValue())
	})
	return r.sum, r.sumErr
}

func (r *remote) Open() (io.ReadCloser, error) {
	if r.short {
		return io.NopCloser(bytes.NewReader(r.inline)), nil
	}
	ctx := r.link.Context()
	f, err := r.ask(ctx, &wire.Frame{Body: &wire.Frame_OpenContent{OpenContent: &wire.OpenContent{Number: r.number}}})
	if err != nil {
		return nil, err
	}
	return &conn{session: r.session, number: f.GetStream().GetStream()}, nil
}

// bytes reads content of a known size to its end.
func (s *session) bytes(c *wire.Content, limit int64) ([]byte, error) {
	source, err := s.contentFromWire(c)
	if err != nil || source == nil {
		return nil, err
	}
	if source.Size() > limit {
		return nil, fmt.Errorf("content %s has %d bytes, more than the %d asked for", c.Name, source.Size(), limit)
	}
	r, err := source.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	content := make([]byte, source.Size())
	_, err = io.ReadFull(r, content)
	return content, err
}

// openContent starts to read content that this side has named.
func (s *session) openContent(number uint64) *wire.Frame {
	s.mu.Lock()
	source := s.contents[number]
	s.forget(number)
	s.mu.Unlock()
	if source == nil {
		return failed(fmt.Errorf("there is no content number %d", number))
	}
	r, err := source.Open()
	if err != nil {
		return s.fails(err)
	}
	stream, err := s.addStream(readOnly{r})
	if err != nil {
		return s.fails(err)
	}
	return &wire.Frame{Body: &wire.Frame_Stream{Stream: &wire.Stream{Stream: stream}}}
}

func (s *session) sumContent(number uint64) *wire.Frame {
	s.mu.Lock()
	source := s.contents[number]
	s.mu.Unlock()
	if source == nil {
		return failed(fmt.Errorf("there is no content number %d", number))
	}
	sum, err := source.SHA256()
	if err != nil {
		return s.fails(err)
	}
	return value([]byte(sum), true)
}

func value(v []byte, found bool) *wire.Frame {
	return &wire.Frame{Body: &wire.Frame_Value{Value: &wire.Value{Value: v, Found: found}}}
}

type readOnly struct{ io.ReadCloser }

func (readOnly) Write([]byte) (int, error) { return 0, errors.New("content is only read") }

// addStream keeps a stream for the other side to read and write. Where it cannot it is closed.
func (s *session) addStream(stream io.ReadWriteCloser) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.streams) >= maxStreams || s.ended != nil {
		stream.Close()
		return 0, fmt.Errorf("more than %d connections and contents are open", maxStreams)
	}
	n := s.number()
	s.streams[n] = stream
	return n, nil
}

func (s *session) closeStream(number uint64) {
	s.mu.Lock()
	stream := s.streams[number]
	delete(s.streams, number)
	s.mu.Unlock()
	if stream != nil {
		stream.Close()
	}
}

func (s *session) readStream(q *wire.Read) *wire.Frame {
	s.mu.Lock()
	stream := s.streams[q.Stream]
	s.mu.Unlock()
	if stream == nil {
		return failed(fmt.Errorf("there is no stream number %d", q.Stream))
	}
	buffer := make([]byte, min(max(q.Max, 1), maxChunk))
	n, err := stream.Read(buffer)
	if err != nil && !errors.Is(err, io.EOF) && n == 0 {
		return s.fails(err)
	}
	return &wire.Frame{Body: &wire.Frame_Data{Data: &wire.Data{Data: buffer[:n], End: errors.Is(err, io.EOF)}}}
}

func (s *session) writeStream(q *wire.Write) *wire.Frame {
	s.mu.Lock()
	stream := s.streams[q.Stream]
	s.mu.Unlock()
	if stream == nil {
		return failed(fmt.Errorf("there is no stream number %d", q.Stream))
	}
	if _, err := stream.Write(q.Data); err != nil {
		return s.fails(err)
	}
	return nothing()
}
