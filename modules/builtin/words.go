package builtin

import (
	"errors"
	"strings"
)

// splitWords splits a command line into words as Ansible's command does (POSIX shell quoting, nothing
// else): quotes and backslashes are taken away, and no variable, pattern or operator is expanded.
func splitWords(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord := false
	runes := []rune(line)
	for i := 0; i < len(runes); i++ {
		switch c := runes[i]; c {
		case ' ', '\t', '\n', '\r':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		case '\\':
			i++
			if i == len(runes) {
				return nil, errors.New("the command line ends with a backslash")
			}
			inWord = true
			word.WriteRune(runes[i])
		case '\'', '"':
			end, err := quoted(runes, i, &word)
			if err != nil {
				return nil, err
			}
			inWord, i = true, end
		default:
			inWord = true
			word.WriteRune(c)
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// quoted copies what stands between the quote at start and its partner, whose place it gives. In
// double quotes a backslash escapes only a double quote and itself.
func quoted(runes []rune, start int, word *strings.Builder) (end int, err error) {
	quote := runes[start]
	for i := start + 1; i < len(runes); i++ {
		c := runes[i]
		if c == quote {
			return i, nil
		}
		if quote == '"' && c == '\\' && i+1 < len(runes) && (runes[i+1] == '"' || runes[i+1] == '\\') {
			i++
			c = runes[i]
		}
		word.WriteRune(c)
	}
	return 0, errors.New("the command line has a quote without an end")
}
