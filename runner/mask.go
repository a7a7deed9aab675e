package runner

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pegbook/pegbook/runner/vars"
)

const (
	hidden   = "hidden by no_log"
	censored = `{"censored":"hidden by no_log"}`
	masked   = "********"
	// leastSecret is how long a secret must be to be hidden inside of words: a shorter one is hidden where it
	// stands alone, since hiding every "a" would tell more than it hides.
	leastSecret = 4
)

// mask hides secrets in JSON that is shown: in its texts, and the numbers that hold one. It stays JSON.
func mask(raw json.RawMessage, secrets []string) json.RawMessage {
	secrets = longestFirst(secrets)
	if len(secrets) == 0 {
		return raw
	}
	tokens := regexp.MustCompile(`"(?:[^"\\]|\\.)*"\s*:?|-?[0-9][-+.0-9eE]*`)
	return tokens.ReplaceAllFunc(raw, func(token []byte) []byte {
		text := string(token)
		number, key := text[0] != '"', strings.HasSuffix(text, ":")
		for _, secret := range secrets {
			switch {
			case key && len(secret) < leastSecret:
			case number && (text == secret || len(secret) >= leastSecret && strings.Contains(text, secret)):
				return []byte(`"` + masked + `"`)
			case !number:
				quoted := vars.Of(secret).JSON()
				text = hide(text, string(quoted[1:len(quoted)-1]))
			}
		}
		return []byte(text)
	})
}

// maskText hides secrets in a text that is shown.
func maskText(text string, secrets []string) string {
	for _, secret := range longestFirst(secrets) {
		text = hide(text, secret)
	}
	return text
}

// longestFirst are the secrets in an order in which none leaves the rest of another behind.
func longestFirst(secrets []string) []string {
	secrets = slices.DeleteFunc(slices.Clone(secrets), func(s string) bool { return s == "" })
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	return secrets
}

// hide hides a secret in a text: everywhere, or a short one where no letter or digit stands beside it.
func hide(text, secret string) string {
	if len(secret) >= leastSecret {
		return strings.ReplaceAll(text, secret, masked)
	}
	var out strings.Builder
	for {
		i := strings.Index(text, secret)
		if i < 0 {
			out.WriteString(text)
			return out.String()
		}
		before, _ := utf8.DecodeLastRuneInString(text[:i])
		after, _ := utf8.DecodeRuneInString(text[i+len(secret):])
		out.WriteString(text[:i])
		if wordRune(before) || wordRune(after) {
			out.WriteString(secret)
		} else {
			out.WriteString(masked)
		}
		text = text[i+len(secret):]
	}
}

func wordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
