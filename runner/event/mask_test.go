package event

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/secret"
)

const hush = "hunter2-secret"

// fill puts a secret into every text of a value.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(hush)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			v.SetBytes([]byte(`{"` + hush + `":["` + hush + `"]}`))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("h1"), value)
	}
}

// keep gives back what is shown on purpose: the names of hosts.
func keep(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.Tag.Get("secrets") == shown || f.Type == reflect.TypeFor[Status]() || f.Type == reflect.TypeFor[Outcome]() {
				v.Field(i).SetZero()
			} else if f.IsExported() {
				keep(v.Field(i))
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			keep(v.Index(i))
		}
	}
}

func TestNoFieldOfAnEventShowsASecret(t *testing.T) {
	secrets := &secret.Set{}
	secrets.Add(hush)
	for _, e := range []Event{RunStarted{}, PlayStarted{}, BatchStarted{}, TaskStarted{}, Noted{}, TaskDone{}, Included{}, Problem{}, RunDone{},
		GateWaiting{}, GateAnswered{}, GuardChecked{}, RunPaused{}, RunContinued{}} {
		full := reflect.New(reflect.TypeOf(e)).Elem()
		fill(full)
		keep(full)
		before, err := json.Marshal(full.Interface())
		require.NoError(t, err)
		require.Contains(t, string(before)+hush, hush)
		masked := Masked(full.Interface().(Event), secrets)
		got, err := json.Marshal(masked)
		require.NoError(t, err)
		assert.NotContains(t, string(got), hush, "%T", e)
		after, err := json.Marshal(full.Interface())
		require.NoError(t, err)
		assert.Equal(t, string(before), string(after), "%T was changed in place", e)
	}
}

func TestHostsAndStatusesAreShown(t *testing.T) {
	secrets := &secret.Set{}
	secrets.Add("changed", "meta1")
	e := Masked(TaskDone{Host: "meta1", Status: Changed, Msg: "meta1 has changed"}, secrets)
	assert.Equal(t, TaskDone{Host: "meta1", Status: Changed, Msg: "******** has ********"}, e)
}

func TestSecretsThatComeLaterAreMasked(t *testing.T) {
	secrets := &secret.Set{}
	var got []Record
	s := NewStream(sinkFunc(func(r Record) { got = append(got, r) }), func() time.Time { return time.Time{} }, secrets)
	s.Emit(Noted{Text: hush})
	secrets.Add(hush)
	s.Emit(Noted{Text: hush})
	assert.Equal(t, []Record{{Seq: 1, Event: Noted{Text: hush}}, {Seq: 2, Event: Noted{Text: secret.Mask}}}, got)
}

type sinkFunc func(Record)

func (f sinkFunc) Record(r Record) { f(r) }

func BenchmarkMasked(b *testing.B) {
	some := &secret.Set{}
	some.Add(hush)
	e := TaskDone{Play: "deploy", Batch: 1, Task: "meta server : restarted", Module: "systemd", Host: "meta1", Status: Changed, Msg: "restarted",
		Result: json.RawMessage(`{"changed":true,"name":"pegasus-meta","state":"started","status":{"ActiveState":"active"}}`)}
	for name, set := range map[string]*secret.Set{"no secret": {}, "one": some} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Masked(e, set)
			}
		})
	}
}
