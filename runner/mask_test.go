package runner

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/pegbook/pegbook/runner/event"
	"github.com/pegbook/pegbook/runner/vars"
)

func TestMask(t *testing.T) {
	for _, tt := range []struct{ name, raw, want, secret string }{
		{"in a text", `{"msg":"is hunter\"22","n":12345}`, `{"msg":"is ********","n":12345}`, `hunter"22`},
		{"with signs that HTML escapes", `{"msg":"a&b<c>"}`, `{"msg":"********"}`, "a&b<c>"},
		{"a number", `{"msg":"x","n":12345}`, `{"msg":"x","n":"********"}`, "12345"},
		{"inside of a number", `[123456]`, `["********"]`, "12345"},
		{"short, alone", `{"msg":"is ab, abc","ab":"ab"}`, `{"msg":"is ********, abc","ab":"********"}`, "ab"},
		{"short, a number", `{"rc":1,"n":12}`, `{"rc":"********","n":12}`, "1"},
		{"empty", `{"msg":""}`, `{"msg":""}`, ""},
		{"a backslash", `{"msg":"c:\\temp1 \"x\""}`, `{"msg":"******** \"x\""}`, `c:\temp1`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := mask(json.RawMessage(tt.raw), []string{tt.secret})
			assert.Equal(t, tt.want, string(got))
			assert.True(t, json.Valid(got))
		})
	}
}

func TestMaskTextLeavesNothingOfTheLongerSecret(t *testing.T) {
	assert.Equal(t, "so ********!", maskText("so abcdefg!", []string{"abcd", "", "abcdefg"}))
	assert.Equal(t, "cab ******** ab1", maskText("cab ab ab1", []string{"ab"}))
}

func TestSkippedResultIsItsData(t *testing.T) {
	res := &result{status: event.Skipped, passed: true}
	assert.Equal(t, string(res.data().JSON()), string(res.json()))
	res.set("more", vars.Of(1))
	assert.Equal(t, string(res.data().JSON()), string(res.json()))
}
