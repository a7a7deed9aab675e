package helper

// ends keeps the first and the last half of what is written, limit bytes in all.
type ends struct {
	limit int
	head  []byte
	// tail is a ring once it is full; next is where its oldest byte is.
	tail  []byte
	next  int
	total int64
}

func (e *ends) write(b []byte) {
	e.total += int64(len(b))
	if room := e.limit - e.limit/2 - len(e.head); room > 0 {
		n := min(room, len(b))
		e.head = append(e.head, b[:n]...)
		b = b[n:]
	}
	size := e.limit / 2
	if len(b) > size {
		b = b[len(b)-size:]
	}
	if room := size - len(e.tail); room > 0 {
		n := min(room, len(b))
		e.tail = append(e.tail, b[:n]...)
		b = b[n:]
	}
	for len(b) > 0 {
		n := copy(e.tail[e.next:], b)
		b = b[n:]
		e.next = (e.next + n) % len(e.tail)
	}
}

func (e *ends) truncated() bool { return e.total > int64(e.limit) }

func (e *ends) bytes() []byte {
	if len(e.tail) == 0 {
		return e.head
	}
	return append(append(e.head, e.tail[e.next:]...), e.tail[:e.next]...)
}
