package vars

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// functionCases has at least one line for every function: an expression and what it gives as JSON, or
// "error: …" as far as the text goes.
var functionCases = [][2]string{
	{`and true 5`, `5`}, {`and false .nope`, `false`}, {`and (defined .nope) .nope`, `false`}, {`and 1 "" 3`, `""`},
	{`or false "x"`, `"x"`}, {`or true .nope`, `true`}, {`or 0 ""`, `""`},
	{`not .l`, `false`}, {`not 0`, `true`}, {`not .null`, `true`},
	{`default 3 .nope`, `3`}, {`.nope | default 3`, `3`}, {`default 3 .zero`, `0`}, {`default "x" .empty`, `""`}, {`default true .no`, `false`},
	{`default "x" .null`, `null`}, {`default "x" .m.a.b.c`, `"x"`}, {`default "x" .m.k`, `"v"`}, {`default 1 (index .l 9)`, `1`},
	{`default 1 (index .m "q")`, `1`}, {`default 1 (index .nope 0)`, `1`}, {`(.nope) | default 2`, `2`}, {`default "c" (default .b .a)`, `"c"`},
	{`default .nope 5`, `5`}, {`default .nope .nope2`, `error: expr:1:9: variable "nope" is not defined`}, {`default "d" .dangling`, `"d"`},
	{`default "x" .zero.y`, `"x"`}, {`.m.q | default .m.k | upper`, `"V"`},
	{`coalesce .nope .empty 0 "x" "y"`, `"x"`}, {`coalesce .nope ""`, `null`},
	{`coalesce 0 "" "x" "y"`, `"x"`}, {`empty .nope`, `true`}, {`empty .l`, `false`}, {`empty .empty`, `true`}, {`.m.q | empty`, `true`}, {`empty .zero`, `true`},
	{`defined "m.k"`, `true`}, {`defined "m.q"`, `false`}, {`defined ".m.k"`, `true`}, {`defined .m.k`, `true`}, {`defined .m.q.r`, `false`},
	{`defined (printf "%s.k" "m")`, `true`}, {`"nope" | defined`, `false`}, {`.m | defined`, `true`}, {`defined .dangling`, `false`},
	{`defined (index .l 1)`, `true`}, {`defined (index .l 7)`, `false`}, {`defined .null`, `true`}, {`defined (.nope)`, `false`},
	{`defined (add 1 2)`, `error: expr:1:10: the integer 3 is no variable path`},
	{`eq 5 .five`, `true`}, {`eq .five 5.0`, `true`}, {`eq .five "5"`, `false`}, {`eq .l .l`, `true`}, {`eq .m "x"`, `false`}, {`eq "a" "b" "a"`, `true`},
	{`eq .null ""`, `false`}, {`eq .yes "true"`, `false`}, {`eq .yes true`, `true`},
	{`ne 5 .five`, `false`}, {`ne "a" 1`, `true`},
	{`lt 1 2.5`, `true`}, {`lt "a" "b"`, `true`}, {`lt 1 "a"`, `error: expr:1:1: lt: the integer 1 and the string "a" have no order`}, {`lt .five .ratio`, `false`},
	{`le 2 2`, `true`}, {`le 2.5 2`, `false`}, {`gt 3 2`, `true`}, {`ge 1.5 1.5`, `true`}, {`ge .l 1`, `error: expr:1:1: ge: a list and the integer 1 have no order`},
	{`deepEqual .m .m`, `true`},
	{`ternary "a" "b" .yes`, `"a"`}, {`.no | ternary "a" "b"`, `"b"`}, {`ternary 1 2 "x"`, `error: expr:1:13: ternary: wants true or false, not the string "x"`},
	{`all 1 "a"`, `true`}, {`all 1 ""`, `false`}, {`any 0 ""`, `false`}, {`any 0 1`, `true`},
	{`fail "stop"`, `error: expr:1:1: fail: stop`},
	{`match "a.c" "abc"`, `true`}, {`match "a.c" "xabc"`, `false`}, {`"abc" | match "a|b.*"`, `false`}, {`search "b" "abc"`, `true`}, {`search "^b" "abc"`, `false`},
	{`match "(" "x"`, `error: expr:1:1: match: error parsing regexp`},
	{`version_compare "2.4.0" ">=" "2.4"`, `true`}, {`version_compare "2.10.0" ">" "2.9.0"`, `true`}, {`version_compare "2.4.0-rc1" "<" "2.4.0"`, `true`},
	{`version_compare "1" "==" "1.0.0"`, `true`}, {`version_compare "1" "!=" "2"`, `true`}, {`version_compare "2" "<=" "2"`, `true`},
	{`version_compare "x" ">" "1"`, `error: expr:1:1: version_compare: the string "x" is no version such as 2.4.0`},
	{`version_compare "1" "~" "1"`, `error: expr:1:21: version_compare: the string "~" is none of`},
	{`(semver "v1.2.3-rc1").Minor`, `2`}, {`(semver "1.2.3").Prerelease`, `""`}, {`semverCompare "^1.2" "1.4.0"`, `true`}, {`semverCompare "<1" "1.4.0"`, `false`},

	{`upper "ab"`, `"AB"`}, {`lower "AB"`, `"ab"`}, {`title "a b"`, `"A B"`}, {`untitle "A B"`, `"a b"`}, {`swapcase "aB"`, `"Ab"`},
	{`snakecase "FirstName"`, `"first_name"`}, {`camelcase "http_server"`, `"HttpServer"`}, {`kebabcase "FirstName"`, `"first-name"`},
	{`trim " a "`, `"a"`}, {`trimAll "$" "$5$"`, `"5"`}, {`trimPrefix "-" "-a"`, `"a"`}, {`trimSuffix "-" "a-"`, `"a"`}, {`nospace "a b"`, `"ab"`},
	{`contains "b" "abc"`, `true`}, {`"abc" | contains "z"`, `false`}, {`contains "1" .five`, `error: expr:1:14: contains: wants a string, not the integer 5; make it one with toString`},
	{`hasPrefix "a" "abc"`, `true`}, {`hasSuffix "c" "abc"`, `true`}, {`replace "a" "b" "aa"`, `"bb"`}, {`repeat 3 "ab"`, `"ababab"`}, {`repeat 0 "ab"`, `""`},
	{`repeat 999999999 "abc"`, `error: expr:1:1: repeat: 999999999 times the text is too much`},
	{`substr 0 2 "abc"`, `"ab"`}, {`substr 5 2 "abc"`, `error: expr:1:1: substr: runtime error`}, {`trunc 2 "abc"`, `"ab"`}, {`trunc -2 "abc"`, `"bc"`},
	{`abbrev 5 "hello world"`, `"he..."`}, {`abbrevboth 5 10 "1234 5678 9123"`, `"...5678..."`}, {`initials "First Try"`, `"FT"`}, {`plural "one" "many" 2`, `"many"`},
	{`wrap 3 "aa bb"`, `"aa\nbb"`}, {`wrapWith 3 "|" "aa bb"`, `"aa|bb"`}, {`indent 2 "a\nb"`, `"  a\n  b"`}, {`nindent 2 "a"`, `"\n  a"`},
	{`indent 100000 "a"`, `error: expr:1:1: indent: 100000 spaces`},
	{`quote "a" 5 .null`, `"\"a\" \"5\""`}, {`squote "a"`, `"'a'"`}, {`cat "a" 1 .null`, `"a 1"`}, {`print "a" 1 2 "b"`, `"a1 2b"`}, {`println 1 2`, `"1 2\n"`},
	{`printf "%s:%d" "h" 80`, `"h:80"`}, {`printf "%03d" .five`, `"005"`}, {`printf "%v" .l`, `"[1, 2, 3]"`}, {`printf "%d" "x"`, `error: expr:1:1: printf: the format "%d" does not fit its values`},
	{`printf "100%%"`, `"100%"`}, {`printf "%d" .ratio`, `error: expr:1:1: printf: the format`},
	{`html "<a>"`, `"&lt;a&gt;"`}, {`js "'"`, `"\\'"`}, {`urlquery "a b"`, `"a+b"`},
	{`split "/" "a/b"`, `{"_0":"a","_1":"b"}`}, {`(split "/" "a/b")._1`, `"b"`}, {`splitn "/" 2 "a/b/c"`, `{"_0":"a","_1":"b/c"}`}, {`splitList "," "a,b"`, `["a","b"]`},
	{`sha1sum "a"`, `"86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"`}, {`sha256sum "" | trunc 8`, `"e3b0c442"`}, {`sha512sum "" | trunc 8`, `"cf83e135"`}, {`adler32sum "a"`, `"6422626"`},
	{`base "/a/b.c"`, `"b.c"`}, {`dir "/a/b"`, `"/a"`}, {`clean "/a/../b"`, `"/b"`}, {`ext "b.tgz"`, `".tgz"`}, {`isAbs "/a"`, `true`},
	{`(urlParse "http://h:80/p?q=1").hostname`, `"h"`}, {`urlJoin (dict "scheme" "http" "host" "h" "path" "/p")`, `"http://h/p"`}, {`duration 95`, `"1m35s"`}, {`duration "95"`, `"1m35s"`},
	{`durationRound "2h10m5s"`, `"2h"`}, {`durationRound "soon"`, `error: expr:1:1: durationRound: "soon" is no duration`},
	{`regexMatch "^a" "ab"`, `true`}, {`regexFind "[0-9]+" "a12"`, `"12"`}, {`regexFindAll "[0-9]" "1a2" -1`, `["1","2"]`}, {`regexReplaceAll "a(.)" "ab" "${1}x"`, `"bx"`},
	{`regexReplaceAllLiteral "a" "ab" "$1"`, `"$1b"`}, {`regexSplit "," "a,b" -1`, `["a","b"]`}, {`regexQuoteMeta "a.b"`, `"a\\.b"`}, {`regexMatch "(" "a"`, `error: expr:1:1: regexMatch: error parsing`},

	{`add 1 2 3`, `6`}, {`add .five "1"`, `6`}, {`add 1.5 1`, `error: expr:1:5: add: the float 1.5 is no whole number`}, {`add "x" 1`, `error: expr:1:5: add: the string "x" is no whole number`},
	{`add1 4`, `5`}, {`sub 5 2`, `3`}, {`mul 2 3 4`, `24`}, {`div 7 2`, `3`}, {`div 1 0`, `error: expr:1:1: div: division by 0`}, {`mod 7 2`, `1`}, {`mod 1 0`, `error: expr:1:1: mod: division by 0`},
	{`max 1 5 3`, `5`}, {`min 4 2`, `2`}, {`addf 1.5 2`, `3.5`}, {`addf "x"`, `error: expr:1:6: addf: the string "x" is no number`}, {`add1f 1.5`, `2.5`}, {`subf 7.5 2`, `5.5`}, {`mulf 1.5 2`, `3.0`}, {`divf 1 4`, `0.25`},
	{`maxf 1 2.5`, `2.5`}, {`minf 1 2.5`, `1.0`}, {`ceil 1.2`, `2.0`}, {`floor 1.8`, `1.0`}, {`round 1.256 2`, `1.26`}, {`int "7"`, `7`}, {`int 7.9`, `7`}, {`int true`, `1`}, {`int "x"`, `error: expr:1:1: int: the string "x" is no number`},
	{`float64 "1.5"`, `1.5`}, {`float64 2`, `2.0`}, {`toDecimal "0755"`, `493`}, {`toDecimal "9"`, `error: expr:1:1: toDecimal: the string "9" is no octal number`},
	{`until 3`, `[0,1,2]`}, {`until 0`, `[]`}, {`until 99999999999`, `error: expr:1:1: until: a list of more than`}, {`untilStep 3 0 -1`, `[3,2,1]`}, {`untilStep 0 3 0`, `[]`},
	{`untilStep 9223372036854775800 9223372036854775807 5`, `[9223372036854775800,9223372036854775805]`},
	{`seq 3`, `"1 2 3"`}, {`seq 2 4`, `"2 3 4"`}, {`seq 0 2 5`, `"0 2 4"`}, {`seq -1`, `"1 0 -1"`}, {`seq 1 2 3 4`, `error: expr:1:1: seq: takes 1 to 3`},

	{`list 1 "a" .null`, `[1,"a",null]`}, {`list`, `[]`}, {`tuple 1`, `[1]`}, {`len .l`, `3`}, {`len "abc"`, `3`}, {`len .m`, `2`}, {`len 5`, `error: expr:1:1: len: the integer 5 has no length`},
	{`index .l 0`, `1`}, {`index .m "k"`, `"v"`}, {`index .m "sub" "x"`, `1`}, {`index .l 3`, `error: expr:1:10: index 3 is outside a list of 3`}, {`index .m "kk"`, `error: expr:1:10: field "kk" is not there`},
	{`index .l "x"`, `error: expr:1:10: index of a list: the string "x" is no whole number`}, {`index .five 0`, `error: expr:1:13: index takes a list or a mapping, not the integer 5`},
	{`slice .l 1`, `[2,3]`}, {`slice .l 0 2`, `[1,2]`}, {`slice "abc" 1 2`, `"b"`}, {`slice .l 2 9`, `error: expr:1:1: slice: 2 to 9 is outside 3 elements`},
	{`first .l`, `1`}, {`first list`, `null`}, {`last .l`, `3`}, {`rest .l`, `[2,3]`}, {`initial .l`, `[1,2]`}, {`append .l 4`, `[1,2,3,4]`}, {`prepend .l 0`, `[0,1,2,3]`},
	{`concat .l (list 4)`, `[1,2,3,4]`}, {`concat .l 4`, `error: expr:1:11: concat: wants a list`}, {`reverse .l`, `[3,2,1]`}, {`uniq (list 1 1.0 "1" 2)`, `[1,"1",2]`}, {`without .l 2`, `[1,3]`},
	{`compact (list 0 1 "")`, `[1]`}, {`has 2 .l`, `true`}, {`has "2" .l`, `false`}, {`chunk 2 .l`, `[[1,2],[3]]`}, {`chunk 0 .l`, `error: expr:1:7: chunk: wants a size`},
	{`join "," .l`, `"1,2,3"`}, {`join "," .m`, `error: expr:1:10: join: wants a list, not a mapping`}, {`join "," "a"`, `"a"`}, {`sortAlpha (list "b" "a")`, `["a","b"]`}, {`toStrings .l`, `["1","2","3"]`},

	{`dict "a" 1`, `{"a":1}`}, {`dict "a"`, `error: expr:1:6: dict: the key "a" has no value`}, {`get .m "k"`, `"v"`}, {`get .m "q"`, `""`}, {`hasKey .m "k"`, `true`}, {`hasKey .m "q"`, `false`}, {`hasKey .five "q"`, `error: expr:1:8: hasKey: wants a mapping`},
	{`keys .m`, `["k","sub"]`}, {`values .m`, `["v",{"x":1}]`}, {`pluck "k" .m (dict "k" 2)`, `["v",2]`}, {`pick .m "k"`, `{"k":"v"}`}, {`omit .m "sub"`, `{"k":"v"}`}, {`set .m "z" 1`, `{"k":"v","sub":{"x":1},"z":1}`},
	{`unset .m "sub"`, `{"k":"v"}`}, {`merge .m (dict "k" 1 "z" 2)`, `{"k":"v","sub":{"x":1},"z":2}`}, {`mergeOverwrite .m (dict "sub" (dict "y" 2))`, `{"k":"v","sub":{"x":1,"y":2}}`},
	{`dig "sub" "x" 0 .m`, `1`}, {`dig "sub" "q" 0 .m`, `0`}, {`dig "k" "q" 0 .m`, `error: expr:1:1: dig: the string "v" is no mapping`}, {`deepCopy .m`, `{"k":"v","sub":{"x":1}}`},

	{`bool "yes"`, `true`}, {`bool "OFF"`, `false`}, {`bool 1`, `true`}, {`bool "maybe"`, `error: expr:1:1: bool: the string "maybe" is neither yes nor no`}, {`toString 5`, `"5"`}, {`toString 2.0`, `"2.0"`},
	{`toYAML .m`, `"k: v\nsub:\n  x: 1"`}, {`(fromYAML "a: {b: 1}").a.b`, `1`}, {`fromYAML "{{ .x }}: a"`, `error: expr:1:1: fromYAML: `}, {`fromYAML "a: '{{ .x }}'"`, `{"a":"{{ .x }}"}`}, {`fromYAML ""`, `null`},
	{`toJson (dict "a" "<")`, `"{\"a\":\"\\u003c\"}"`}, {`toRawJson (dict "a" "<")`, `"{\"a\":\"<\"}"`}, {`toPrettyJson (dict "a" 1)`, `"{\n  \"a\": 1\n}"`}, {`fromJson "[1, 2.0]"`, `[1,2.0]`}, {`fromJson "["`, `error: expr:1:1: fromJson: unexpected EOF`},
	{`b64enc "a"`, `"YQ=="`}, {`b64dec "YQ=="`, `"a"`}, {`b64dec "?"`, `error: expr:1:1: b64dec: illegal base64`}, {`b32enc "a"`, `"ME======"`}, {`b32dec "ME======"`, `"a"`},
	{`typeOf .l`, `"list"`}, {`kindIs "map" .m`, `true`}, {`typeIs "string" 5`, `false`},

	{`date "2006-01-02 15:04" "2026-03-01T12:30:00Z"`, `"2026-03-01 12:30"`}, {`date "15:04 -0700" "2026-03-01T12:30:00+02:00"`, `"12:30 +0200"`}, {`date "2006" 0`, `"1970"`},
	{`date "2006-01-02" "2026-03-01"`, `"2026-03-01"`}, {`date "2006" "x"`, `error: expr:1:1: date: the string "x" is no moment such as 2026-03-01T12:00:00Z`}, {`unixEpoch "1970-01-01 00:01:00"`, `60`},
	{`dateInZone "15:04" "2026-07-01T12:00:00Z" "UTC"`, `"12:00"`}, {`dateInZone "15:04" 0 "Nowhere"`, `error: expr:1:1: dateInZone: there is no zone "Nowhere"`},
	{`dateModify "-1h30m" "2026-03-01T12:00:00Z"`, `"2026-03-01T10:30:00Z"`}, {`"2026-03-01" | dateModify "x"`, `error: expr:1:16: dateModify: "x" is no duration`},
	{`htmlDate 86400`, `"1970-01-02"`}, {`htmlDateInZone 86400 "UTC"`, `"1970-01-02"`}, {`toDate "02.01.2006" "24.12.2026"`, `"2026-12-24T00:00:00Z"`}, {`toDate "2006" "x"`, `error: expr:1:1: toDate: "x" does not fit the layout "2006"`},
	{`derivePassword 1 "long" "password" "user" "example.com"`, `"ZedaFaxcZaso9*"`}, {`derivePassword 1 "odd" "p" "u" "s"`, `error: expr:1:1: derivePassword: the kind is long`},

	{`hostvar "h2" "port"`, `2002`}, {`hostvar "h9" "port"`, `error: expr:1:9: hostvar: no host is called "h9": did you mean`}, {`hostvar "h2" "prt"`, `error: expr:1:14: hostvar: variable "prt" is not defined for host h2`},
	{`default 1 (hostvar "h2" "nope")`, `1`}, {`defined (hostvar "h9" "port")`, `false`}, {`hostvar "h1" "self"`, `"h1"`},
	{`.hostvars.h2.port`, `2002`}, {`index .hostvars "h2" "port"`, `2002`}, {`hasKey .hostvars "h2"`, `true`}, {`hasKey .hostvars "h7"`, `false`}, {`len .hostvars`, `2`}, {`keys .hostvars`, `["h1","h2"]`},
	{`.hostvars.h7.port`, `error: expr:1:10: no host is called "h7"`}, {`defined .hostvars.h7`, `false`}, {`default "-" .hostvars.h2.q`, `"-"`}, {`.hostvars.h1`, `{"inventory_hostname":"h1","port":2001,"self":"h1"}`},
	{`hosts_in "all"`, `["h1","h2"]`}, {`hosts_in "none"`, `[]`}, {`hosts_in "&"`, `error: expr:1:1: hosts_in: pattern "&" is not understood`},
	{`lookup_env "VARS_TEST"`, `"from env"`}, {`lookup_env "VARS_TEST_NOT_SET"`, `""`}, {`lookup_file "f.txt"`, `"text {{ .five }}"`}, {`lookup_file "no.txt"`, `error: expr:1:1: lookup_file: open no.txt`},
	{`lookup_template "t.tmpl"`, `"five is 5\n"`}, {`lookup_template "self.tmpl"`, `error: self.tmpl:1:4: lookup_template: template self.tmpl renders itself`}, {`lookup_template "bad.tmpl"`, `error: bad.tmpl:1:4: variable "fiv" is not defined`},
	{`succeeded .r`, `true`}, {`failed .r`, `false`}, {`failed .bad`, `true`}, {`succeeded .bad`, `false`}, {`changed .r`, `true`}, {`changed .loop`, `true`}, {`skipped .loop`, `false`}, {`skipped .bad`, `true`}, {`unreachable .r`, `false`}, {`succeeded .gone`, `false`},
	{`unreachable .gone`, `true`}, {`failed 5`, `error: expr:1:8: failed: wants a registered result, not the integer 5`},
}

const functionVars = `
five: 5
zero: 0
ratio: 0.5
empty: ""
null: ~
yes_: true
"yes": true
"no": false
l: [1, 2, 3]
m: {k: v, sub: {x: 1}}
dangling: "{{ .not_there }}"
r: {changed: true, failed: false, rc: 0}
bad: {failed: true, skipped: true}
gone: {unreachable: true, changed: false}
loop: {results: [{changed: false}, {changed: true}]}
`

func functionScope(t testing.TB) *Scope {
	w := cluster(t, `self: "{{ .inventory_hostname }}"`, map[string]string{"h1": "port: 2001", "h2": "port: 2002"})
	w.files["f.txt"] = "text {{ .five }}\n"
	w.files["t.tmpl"] = "five is {{ .five }}\n"
	w.files["bad.tmpl"] = "{{ .fiv }}"
	w.files["self.tmpl"] = `{{ lookup_template "self.tmpl" }}`
	return NewScope(w).With(PlayVars, valuesOf(t, functionVars))
}

func TestFunctions(t *testing.T) {
	t.Setenv("VARS_TEST", "from env")
	for _, c := range functionCases {
		got := show(evaluate(t, functionScope(t), c[0]))
		if strings.HasPrefix(c[1], "error: ") {
			assert.True(t, strings.HasPrefix(got, c[1]), "%s\n got %s\nwant %s", c[0], got, c[1])
			continue
		}
		assert.Equal(t, c[1], got, c[0])
	}
}

// unsteadyCases are the functions that give something else each time, with what it looks like.
var unsteadyCases = [][2]string{
	{`now`, `^"20\d\d-\d\d-\d\dT[0-9:.]+Z"$`}, {`ago "2020-01-01"`, `^"\d+h\d+m\d+s"$`}, {`ago (now)`, `^"0s"$`}, {`uuidv4`, `^"[0-9a-f-]{36}"$`},
	{`randAlphaNum 12`, `^"[A-Za-z0-9]{12}"$`}, {`randAlpha 12`, `^"[A-Za-z]{12}"$`}, {`randNumeric 12`, `^"[0-9]{12}"$`}, {`randAscii 12`, `^".{12,}"$`},
	{`randBytes 12`, `^"[A-Za-z0-9+/]{16}"$`}, {`randInt 5 7`, `^[56]$`}, {`shuffle "abcdefghijklmnop"`, `^"[a-p]{16}"$`},
	{`bcrypt "x"`, `^"\$2a\$10\$`}, {`htpasswd "u" "x"`, `^"u:\$2a\$`},
	{`randInt 5 5`, `^error: expr:1:1: randInt: there is no number from 5 up to 5`}, {`randAlpha 5000`, `^error: expr:1:1: randAlpha: 5000 characters are outside 0 to 4096`},
	{`htpasswd "a:b" "x"`, `^error: expr:1:1: htpasswd: invalid username`},
}

func TestUnsteadyFunctions(t *testing.T) {
	for _, c := range unsteadyCases {
		assert.Regexp(t, c[1], show(evaluate(t, functionScope(t), c[0])), c[0])
	}
	for name, fn := range library() {
		used := false
		for _, c := range unsteadyCases {
			used = used || strings.HasPrefix(c[0], name)
		}
		assert.Equal(t, fn.unsteady, used, name)
	}
}

// A function that answers otherwise the second time would make a task that always changes.
func TestFunctionsAreRepeatable(t *testing.T) {
	t.Setenv("VARS_TEST", "from env")
	for _, c := range functionCases {
		first := show(evaluate(t, functionScope(t), c[0]))
		for range 3 {
			require.Equal(t, first, show(evaluate(t, functionScope(t), c[0])), c[0])
		}
	}
}

func TestEveryFunctionIsTestedAndDocumented(t *testing.T) {
	words := regexp.MustCompile(`[A-Za-z_][A-Za-z_0-9]*`)
	tested := map[string]bool{}
	for _, c := range append(unsteadyCases, functionCases...) {
		for _, w := range words.FindAllString(c[0], -1) {
			tested[w] = true
		}
	}
	listed := map[string]bool{}
	for _, f := range Functions() {
		listed[f.Name] = true
		assert.NotEmpty(t, f.Doc, f.Name)
		assert.NotContains(t, f.Doc, "\n", f.Name)
		assert.True(t, strings.HasSuffix(f.Doc, "."), "%s: %s", f.Name, f.Doc)
		assert.True(t, f.Usage == f.Name || strings.HasPrefix(f.Usage, f.Name+" "), f.Usage)
		same, alias := strings.CutPrefix(f.Doc, "The same as ")
		assert.True(t, tested[f.Name] || alias && tested[strings.TrimSuffix(same, ".")], "no case uses %s", f.Name)
	}
	assert.Len(t, library(), len(listed))
	for name := range refusedFunctions() {
		assert.False(t, listed[name], "%s is refused and listed", name)
	}
}
