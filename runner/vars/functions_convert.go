package vars

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/pegbook/pegbook/runner/diag"
	"github.com/pegbook/pegbook/runner/internal/document"
)

// convertTable is conversions between types and to and from formats.
func convertTable() []tableRow {
	return []tableRow{
		{"bool VALUE", "The texts yes true on 1, no false off 0, and 1 and 0, as a boolean.", toBool, nil},
		{"toString VALUE", "The value as text.", textOf, nil},
		{"toYAML VALUE", "The value as YAML, keys sorted, without a line break at the end.", toYAML, []string{"toYaml"}},
		{"fromYAML TEXT", "The value of a YAML text.", fromYAML, []string{"fromYaml"}},
		{"toJson VALUE", "The value as JSON on one line, < > & escaped.", escapedJSON, []string{"mustToJson"}},
		{"toRawJson VALUE", "The value as JSON on one line.", rawJSON, []string{"mustToRawJson"}},
		{"toPrettyJson VALUE", "The value as JSON on several lines.", prettyJSON, []string{"mustToPrettyJson"}},
		{"fromJson TEXT", "The value of a JSON text.", fromJSONText, []string{"mustFromJson"}},
		{"b64enc TEXT", "In base 64.", func(t string) string { return base64.StdEncoding.EncodeToString([]byte(t)) }, nil},
		{"b64dec TEXT", "Read from base 64.", func(t string) (string, error) { b, err := base64.StdEncoding.DecodeString(t); return string(b), err }, nil},
		{"b32enc TEXT", "In base 32.", func(t string) string { return base32.StdEncoding.EncodeToString([]byte(t)) }, nil},
		{"b32dec TEXT", "Read from base 32.", func(t string) (string, error) { b, err := base32.StdEncoding.DecodeString(t); return string(b), err }, nil},
		{"typeOf VALUE", "The kind of the value: null, boolean, integer, float, string, list or mapping.", func(v any) string { return kindOf(v) }, []string{"kindOf"}},
		{"typeIs KIND VALUE", "Whether the value is of a kind; int, bool, slice and map are understood too.", kindIs, []string{"kindIs", "typeIsLike"}},
	}
}

func toBool(v any) (bool, error) {
	switch b := v.(type) {
	case bool:
		return b, nil
	case int64:
		if b == 0 || b == 1 {
			return b == 1, nil
		}
	case string:
		switch strings.ToLower(strings.TrimSpace(b)) {
		case "yes", "true", "on", "1", "y", "t":
			return true, nil
		case "no", "false", "off", "0", "n", "f":
			return false, nil
		}
	}
	return false, fmt.Errorf("%s is neither yes nor no", describe(v))
}

func rawJSON(v any) string { return string(compact.append(nil, v)) }

func escapedJSON(v any) string {
	var b bytes.Buffer
	json.HTMLEscape(&b, compact.append(nil, v))
	return b.String()
}

func prettyJSON(v any) string {
	var b bytes.Buffer
	if err := json.Indent(&b, compact.append(nil, v), "", "  "); err != nil {
		panic("vars: JSON of our own is malformed: " + err.Error())
	}
	return b.String()
}

func fromJSONText(text string) (any, error) {
	d, err := FromJSON([]byte(text))
	return d, err
}

func toYAML(v any) (string, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// fromYAML reads text as data: what looks like a template in it stays text.
func fromYAML(text string) (any, error) {
	var problems diag.List
	n := document.Parse([]byte(text), "", &problems)
	if n == nil {
		return nil, problems.Err()
	}
	r := nodeReader{problems: &problems, done: map[*yaml.Node]Value{}, literal: true}
	v := r.value(n)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	d, _ := v.Static()
	return d, nil
}

// kindIs also takes the names that Go has for the kinds, as sprig's functions of these names do.
func kindIs(kind string, v any) bool {
	switch strings.TrimPrefix(kind, "*") {
	case "bool":
		kind = "boolean"
	case "int", "int64":
		kind = "integer"
	case "float64":
		kind = "float"
	case "slice", "[]interface {}":
		kind = "list"
	case "map", "map[string]interface {}":
		kind = "mapping"
	case "invalid", "<nil>":
		kind = "null"
	}
	return kindOf(v) == kind
}
