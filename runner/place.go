package runner

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// A place is where a row stands in its run, so that another run of the same playbook can tell the row again: the
// play's number, the batch's, and from the play's part on the number of the entry in each list, with b, r or a
// where the way leads into a block's body, rescue or always. So 0.1:2:tasks/4b/0 is, in the second play of the first
// playbook, for its second batch, the first task in the body of the block that is the fifth entry of tasks. Behind !
// stand the numbers of handlers that a flush runs, behind > what an include has brought in. What stands behind a
// row in its list does not change the row's place: the rest of a playbook may be mended.

// playPlace is the place of a play of a playbook.
func playPlace(book, play int) string { return strconv.Itoa(book) + "." + strconv.Itoa(play) }

// batchPlace is the place of a batch.
func batchPlace(play string, batch int) string { return play + ":" + strconv.Itoa(batch) + ":" }

func numbered(place string, i int) string { return place + "/" + strconv.Itoa(i) }

// letter stands for a section in a place.
func (p part) letter() string { return [...]string{"b", "r", "a"}[p] }

// place is the place of what an include has brought in.
func (b *brought) place(w *row) string {
	sum := sha256.Sum256([]byte(b.key))
	return w.place + ">" + hex.EncodeToString(sum[:6]) + "." + strconv.Itoa(b.nth)
}

// where is the place of the row in the run.
func (rr *rowRun) where() string { return batchPlace(rr.lane.play.place, rr.lane.batch) + rr.row.place }

// playOf is the place of the play that a place lies in.
func playOf(place string) string {
	play, _, _ := strings.Cut(place, ":")
	return play
}

// batchOf is the number of the batch that a place lies in.
func batchOf(place string) int {
	_, rest, _ := strings.Cut(place, ":")
	number, _, _ := strings.Cut(rest, ":")
	n, _ := strconv.Atoi(number)
	return n
}

// blocksOf are the places of the blocks that a place lies in, outermost first, each with the letter of the section
// that the way leads through.
func blocksOf(place string) []blockAt {
	var all []blockAt
	for i := 1; i < len(place); i++ {
		ends := i+1 == len(place) || place[i+1] == '/' || place[i+1] == '!' || place[i+1] == '>'
		if c := place[i]; (c == 'b' || c == 'r' || c == 'a') && ends && place[i-1] >= '0' && place[i-1] <= '9' {
			all = append(all, blockAt{place[:i], c})
		}
	}
	return all
}

// blockAt is a block with the section of it that is meant.
type blockAt struct {
	place   string
	section byte
}

// within says whether a place lies in the block, and in which section.
func (b blockAt) within(place string) (section byte, ok bool) {
	rest, ok := strings.CutPrefix(place, b.place)
	if !ok || rest == "" {
		return 0, false
	}
	switch rest[0] {
	case 'b', 'r', 'a':
		return rest[0], true
	}
	return 0, false
}
