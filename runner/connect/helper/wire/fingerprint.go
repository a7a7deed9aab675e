package wire

import (
	"encoding/binary"
	"hash/fnv"
	"strconv"
)

// Fingerprint tells versions of the wire apart: a helper says its own when it begins, so that one which was
// not built together with the control node is found out at once and not by a message that makes no sense.
// It is made of samples of all messages, so it changes when a field comes, goes or moves, and of the numbers
// that both sides rely on.
func Fingerprint() string {
	command := Command{Argv: []string{"a", "b"}, Dir: "c", Env: []string{"d=e"}, Stdin: []byte("f"), Stream: 1, Log: "g", MaxOutput: 2, Streamed: true}
	files := []File{{Path: "a", Kind: Other, Truncated: true, Mode: 1, Size: 2, UID: 3, GID: 4, Owner: "b", Group: "c", Modified: 5, Target: "d", Sum: "e",
		Content: []byte("f"), Entries: []File{{Path: "g"}}, DiskTotal: 6, DiskFree: 7, Device: 8}}
	var b []byte
	b = AppendLook(b, []Query{{Path: "a", Content: 1, Follow: true, List: true}})
	b = AppendFiles(b, files)
	b = AppendApply(b, []Change{{Kind: CopyFile, Path: "a", Target: "b", Sum: "c", Within: "d", Content: []byte("e"), Stream: 1, Strip: 2, Mode: 3,
		Owner: "f", Group: "g", Streamed: true, Recursive: true, Keep: "h", Base: "i"}})
	b = AppendRun(b, &command)
	b = AppendOutput(b, &Output{ExitCode: 1, PID: 2, Started: 3, Ended: 4, Truncated: true, Stdout: []byte("a"), Stderr: []byte("b")})
	b = AppendJob(b, &JobRequest{Act: ForgetJob, ID: "a", Limit: 1, Command: command})
	b = AppendJobState(b, &JobState{Known: true, Finished: true, Argv: []string{"a"}, Path: "b", Result: []byte("c")})
	b = AppendFenced(b, &Fencing{Fences: []Fence{{Key: "a", Token: 1, Holder: "b"}}, Base: "c", Authority: "d", UID: 2})
	b = AppendFence(AppendFolder(b, &Folder{Path: "a", UID: 1}))
	b = AppendHold(b, &HoldRequest{Act: ReleaseHold, Path: "a", Note: "b"})
	b = AppendHoldState(b, &HoldState{Ours: true, Token: 1, Note: "a"})
	b = AppendKeptFolder(b, "a")
	b = AppendKept(b, &Kept{After: true, Opens: true, Beside: true, Time: 1, Path: "a", Copy: "b", Lost: "c",
		State: State{Kind: Other, Mode: 1, UID: 2, GID: 3, Size: 4, Modified: 5, Target: "d"}})
	b = AppendError(b, &Error{Kind: Stale, Op: "a", Path: "b", Text: "c"})
	b = append(AppendFrom(AppendCredit(AppendDone(b), 1), 2), byte(From), byte(KeptFolder), byte(RemoveDirectory))
	for _, n := range []uint64{HeaderLen, MaxRequest, MaxPart, ChunkLen, Window, InlineLen, ResumeLen} {
		b = binary.AppendUvarint(b, n)
	}
	h := fnv.New64a()
	_, _ = h.Write(b)
	return strconv.FormatUint(h.Sum64(), 36)
}
