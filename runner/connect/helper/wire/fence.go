package wire

// Fence is a lock that a request is made under. The host refuses a Token older than it has seen for Key.
type Fence struct {
	Key   string
	Token uint64
	// Holder says who holds the lock, for whom it keeps out.
	Holder string
}

// Fencing is what a request of many kinds can begin with: the Op Fenced, this, and then the request.
type Fencing struct {
	Fences []Fence
	// Base is the folder in which the host keeps what it has seen; "" is /var/tmp.
	Base string
	// Authority is the folder of the user who logs in, and UID its owner: where the helper of another user looks
	// as well. "" is none.
	Authority string
	UID       int
}

// AppendFenced appends the beginning of a request, ParseFenced reads it.
func AppendFenced(b []byte, f *Fencing) []byte {
	e := encoder{append(b, byte(Fenced))}
	e.uint(uint64(len(f.Fences)))
	for i := range f.Fences {
		e.string(f.Fences[i].Key)
		e.uint(f.Fences[i].Token)
		e.string(f.Fences[i].Holder)
	}
	e.string(f.Base)
	e.string(f.Authority)
	e.int(int64(f.UID))
	return e.b
}

// ParseFenced reads what AppendFenced wrote after the Op byte, and gives the request behind it.
func ParseFenced(b []byte) (*Fencing, []byte, error) {
	d := decoder{b: b}
	f := &Fencing{}
	if n := d.count(3); n > 0 {
		f.Fences = make([]Fence, n)
	}
	for i := range f.Fences {
		f.Fences[i] = Fence{Key: d.string(), Token: d.uint(), Holder: d.string()}
	}
	f.Base = d.string()
	f.Authority = d.string()
	f.UID = int(d.int())
	return f, d.b, d.err
}

// Folder is the folder in which a host keeps the tokens that it has seen, and its owner.
type Folder struct {
	Path string
	UID  int
}

// AppendFence appends a Fence request, which does nothing but ask whether its fences hold. It has no message.
func AppendFence(b []byte) []byte { return append(b, byte(FenceOp)) }

// AppendFolder appends the answer to Fence, ParseFolder reads it; a refusal is *Error.
func AppendFolder(b []byte, f *Folder) []byte {
	e := encoder{append(b, 0)}
	e.string(f.Path)
	e.int(int64(f.UID))
	return e.b
}

// ParseFolder reads what AppendFolder wrote.
func ParseFolder(b []byte) (*Folder, error) {
	d, err := answer(b)
	if err != nil {
		return nil, err
	}
	f := &Folder{Path: d.string(), UID: int(d.int())}
	return f, d.end()
}

// HoldAct is what is to be done about a lock on a file.
type HoldAct byte

// Acts.
const (
	TakeHold HoldAct = 1 + iota
	AskHold
	CheckHold
	ReleaseHold
)

// HoldRequest is about the lock on the file Path. Note is, for TakeHold, what the holder says of itself.
type HoldRequest struct {
	Act        HoldAct
	Path, Note string
}

// HoldState is how a lock stands. Ours is one that this helper holds, with its Token; Held one that is another's,
// whose holder says Note.
type HoldState struct {
	Ours, Held bool
	Token      uint64
	Note       string
}

// AppendHold appends a Hold request, ParseHold reads it.
func AppendHold(b []byte, h *HoldRequest) []byte {
	e := encoder{append(b, byte(Hold))}
	e.uint(uint64(h.Act))
	e.string(h.Path)
	e.string(h.Note)
	return e.b
}

// ParseHold reads what AppendHold wrote after the Op byte.
func ParseHold(b []byte) (*HoldRequest, error) {
	d := decoder{b: b}
	h := &HoldRequest{Act: HoldAct(d.uint()), Path: d.string(), Note: d.string()}
	return h, d.end()
}

// AppendHoldState appends the answer to Hold.
func AppendHoldState(b []byte, s *HoldState) []byte {
	e := encoder{append(b, 0)}
	e.flags(s.Ours, s.Held)
	e.uint(s.Token)
	e.string(s.Note)
	return e.b
}

// ParseHoldState reads the answer to Hold; a refusal is *Error.
func ParseHoldState(b []byte) (*HoldState, error) {
	d, err := answer(b)
	if err != nil {
		return nil, err
	}
	s := &HoldState{}
	d.flags(&s.Ours, &s.Held)
	s.Token, s.Note = d.uint(), d.string()
	return s, d.end()
}
