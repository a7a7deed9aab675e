package system

import "strings"

// compareVersions orders two versions as dpkg does (deb-version(7)): epoch, then the upstream version,
// then the revision.
func compareVersions(a, b string) int {
	epochA, restA := epochOf(a)
	epochB, restB := epochOf(b)
	if c := compareParts(epochA, epochB); c != 0 {
		return c
	}
	upstreamA, revisionA := revisionOf(restA)
	upstreamB, revisionB := revisionOf(restB)
	if c := compareParts(upstreamA, upstreamB); c != 0 {
		return c
	}
	return compareParts(revisionA, revisionB)
}

func epochOf(version string) (epoch, rest string) {
	if epoch, rest, ok := strings.Cut(version, ":"); ok {
		return epoch, rest
	}
	return "0", version
}

func revisionOf(version string) (upstream, revision string) {
	if i := strings.LastIndexByte(version, '-'); i >= 0 {
		return version[:i], version[i+1:]
	}
	return version, "0"
}

// compareParts compares parts that are no digits and parts that are, by turns.
func compareParts(a, b string) int {
	for a != "" || b != "" {
		wordA, wordB := leading(a, false), leading(b, false)
		if c := compareWords(wordA, wordB); c != 0 {
			return c
		}
		a, b = a[len(wordA):], b[len(wordB):]
		digitsA, digitsB := leading(a, true), leading(b, true)
		a, b = a[len(digitsA):], b[len(digitsB):]
		digitsA, digitsB = strings.TrimLeft(digitsA, "0"), strings.TrimLeft(digitsB, "0")
		if len(digitsA) != len(digitsB) {
			return sign(len(digitsA) - len(digitsB))
		}
		if c := strings.Compare(digitsA, digitsB); c != 0 {
			return c
		}
	}
	return 0
}

// leading is the part at the start that is digits, or that is none.
func leading(text string, digits bool) string {
	for i := range len(text) {
		if (text[i] >= '0' && text[i] <= '9') != digits {
			return text[:i]
		}
	}
	return text
}

// compareWords compares parts without digits: ~ comes before the end, letters before all else.
func compareWords(a, b string) int {
	for i := 0; i < len(a) || i < len(b); i++ {
		if c := weight(a, i) - weight(b, i); c != 0 {
			return sign(c)
		}
	}
	return 0
}

func weight(text string, i int) int {
	switch {
	case i >= len(text):
		return 0
	case text[i] == '~':
		return -1
	case text[i] >= 'a' && text[i] <= 'z' || text[i] >= 'A' && text[i] <= 'Z':
		return int(text[i])
	}
	return int(text[i]) + 256
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}
