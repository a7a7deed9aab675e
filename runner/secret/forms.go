package secret

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"slices"
	"strings"
	"unicode/utf16"
)

// formsOf are the ways in which a secret may come up in what commands and modules print: as it is, quoted for
// JSON, shells, URLs, HTML and YAML, in hexadecimal, and in base 64.
func formsOf(text string) []string {
	forms := []string{
		text, escaped(text), inHTMLSafeJSON(text), inASCII(text), escaped(escaped(text)), escaped(inHTMLSafeJSON(text)),
		strings.ReplaceAll(text, `'`, `'\''`), strings.ReplaceAll(text, `'`, `'"'"'`), strings.ReplaceAll(text, `'`, `\'`), strings.ReplaceAll(text, `'`, `''`),
		backslashed(text, func(c byte) bool { return strings.IndexByte("\"$`\\", c) >= 0 }),
		backslashed(text, func(c byte) bool { return !unreserved(c) && c < 0x80 && strings.IndexByte("%+=:,/@", c) < 0 }),
		html.EscapeString(text), strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#x27;").Replace(text),
		hex.EncodeToString([]byte(text)),
	}
	forms = append(forms, inURL(text)...)
	forms = append(forms, inBase64(text)...)
	forms = slices.DeleteFunc(forms, func(form string) bool { return len(form) < least })
	slices.Sort(forms)
	return slices.Compact(forms)
}

// inHTMLSafeJSON is JSON as most of Go's programs write it.
func inHTMLSafeJSON(text string) string {
	raw, err := json.Marshal(text)
	if err != nil {
		panic("secret: a text that JSON cannot hold: " + err.Error())
	}
	return string(raw[1 : len(raw)-1])
}

// inASCII is JSON as Python's programs write it.
func inASCII(text string) string {
	var out strings.Builder
	for _, r := range escaped(text) {
		if r < 0x80 {
			out.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&out, `\u%04x`, unit)
		}
	}
	return out.String()
}

func backslashed(text string, special func(c byte) bool) string {
	var out strings.Builder
	for i := range len(text) {
		if special(text[i]) {
			out.WriteByte('\\')
		}
		out.WriteByte(text[i])
	}
	return out.String()
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// inURL are the ways to write a text in a URL: what is kept as it is differs.
func inURL(text string) []string {
	var forms []string
	for _, kept := range []string{"", "/", "$&+=:@"} {
		for _, digits := range []string{"%%%02X", "%%%02x"} {
			percent := func(space string) string {
				var out strings.Builder
				for i := range len(text) {
					switch c := text[i]; {
					case c == ' ' && space != "":
						out.WriteString(space)
					case unreserved(c) || strings.IndexByte(kept, c) >= 0:
						out.WriteByte(c)
					default:
						fmt.Fprintf(&out, digits, c)
					}
				}
				return out.String()
			}
			forms = append(forms, percent(""), percent("+"))
		}
	}
	return forms
}

const (
	leastEncoded = 8  // shorter pieces of base 64 come up by chance
	longLine     = 64 // lines of base 64 are 64 or 76 letters
)

// inBase64 are the letters that a text surely gives in base 64, wherever in a longer text it stands: what stands
// before it shifts it by nothing, one byte or two.
func inBase64(text string) []string {
	var forms []string
	for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			code := alphabet.EncodeToString(append(make([]byte, shift), text...))
			first, bits := (shift*8+5)/6, (shift+len(text))*8
			if code = code[first : bits/6]; len(code) >= leastEncoded {
				forms = append(forms, code)
			}
		}
		whole := alphabet.EncodeToString([]byte(text))
		for _, width := range []int{longLine, 76} {
			for line := range slices.Chunk([]byte(whole), width) {
				if len(whole) > longLine && len(line) >= leastEncoded {
					forms = append(forms, string(line))
				}
			}
		}
	}
	return forms
}
