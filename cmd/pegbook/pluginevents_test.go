package main

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/plugins"
	"github.com/pegbook/pegbook/runner/event"
)

// jsonFields are the fields of a struct in JSON, with their types.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			for name, kind := range jsonFields(f.Type) {
				all[name] = kind
			}
		case name != "-" && f.IsExported():
			all[name] = f.Type
		}
	}
	return all
}

// TestEventsOfTheSDKAreThoseOfRuns: what authors of notifiers read is what runs tell, under the same names.
func TestEventsOfTheSDKAreThoseOfRuns(t *testing.T) {
	told := map[string]bool{"seq": true, "time": true, "event": true}
	for _, e := range event.Every() {
		for name := range jsonFields(reflect.TypeOf(e)) {
			told[name] = true
		}
	}
	for name := range jsonFields(reflect.TypeFor[plugins.Event]()) {
		assert.True(t, told[name], "plugins.Event has a field %s that no event has", name)
	}
	for name := range jsonFields(reflect.TypeFor[plugins.Counts]()) {
		assert.Contains(t, jsonFields(reflect.TypeFor[event.Counts]()), name)
	}
	for _, kind := range []string{plugins.RunStarted, plugins.PlayStarted, plugins.BatchStarted, plugins.TaskStarted, plugins.TaskDone, plugins.GateWaiting,
		plugins.GateAnswered, plugins.GuardChecked, plugins.RunPaused, plugins.RunContinued, plugins.Problem, plugins.RunDone} {
		_, err := event.Parse([]byte(`{"seq":1,"time":"2026-03-01T10:15:00Z","event":"` + kind + `"}`))
		require.NoError(t, err)
	}
	for _, e := range everyEvent("a mark") {
		got, err := plugins.ParseEvent(e.Line)
		require.NoError(t, err, "every kind can be read: %s", e.Line)
		require.Equal(t, e.Kind, got.Kind)
		again, fields := map[string]json.RawMessage{}, map[string]json.RawMessage{}
		raw, err := json.Marshal(got)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(raw, &again))
		require.NoError(t, json.Unmarshal(e.Line, &fields))
		for name, value := range fields {
			if _, read := again[name]; read && name != "time" {
				assert.JSONEq(t, string(value), string(again[name]), "field %s of %s", name, e.Kind)
			}
		}
	}
}
