package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/runner/diag"
)

func TestRecordIsOneObject(t *testing.T) {
	at := time.Date(2026, 3, 1, 13, 0, 0, 0, time.FixedZone("", 3600))
	tests := []struct {
		name  string
		event Event
		want  string
	}{
		{"task", TaskDone{Play: "p", Batch: 1, Task: "t", Host: "h", Status: Changed, Result: json.RawMessage(`{"changed":true}`), TookMS: 1.5},
			`{"seq":7,"time":"2026-03-01T12:00:00Z","event":"task_done","play":"p","batch":1,"task":"t","host":"h","status":"changed","handler":false,"ignored":false,"rescued":false,"result":{"changed":true},"took_ms":1.5}`},
		{"problem", NewProblem(diag.Diagnostic{Position: diag.Position{File: "a.yml", Line: 2, Column: 3}, Problem: "bad", Hint: "good"}),
			`{"seq":7,"time":"2026-03-01T12:00:00Z","event":"problem","file":"a.yml","line":2,"column":3,"message":"bad","hint":"good","severity":"error"}`},
		{"recap", RunDone{Recap: map[string]Counts{"h": {OK: 1}}, ExitCode: 2, TookMS: 3},
			`{"seq":7,"time":"2026-03-01T12:00:00Z","event":"run_done","recap":{"h":{"ok":1,"changed":0,"unreachable":0,"failed":0,"skipped":0,"rescued":0,"ignored":0}},"exit_code":2,"took_ms":3}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw, err := json.Marshal(Record{Seq: 7, Time: at, Event: tt.event})
			require.NoError(t, err)
			assert.Equal(t, tt.want, string(raw))
		})
	}
}

func TestStreamNumbersWithoutGaps(t *testing.T) {
	var first, second bytes.Buffer
	s := NewStream(Tee{NewLines(&first), NewLines(&second)}, func() time.Time { return time.Unix(0, 0) }, nil)
	s.Emit(Included{File: "<a>", Hosts: []string{"h"}})
	s.Emit(Included{File: "b", Hosts: []string{"h"}})
	want := `{"seq":1,"time":"1970-01-01T00:00:00Z","event":"included","file":"<a>","hosts":["h"]}
{"seq":2,"time":"1970-01-01T00:00:00Z","event":"included","file":"b","hosts":["h"]}
`
	assert.Equal(t, want, first.String())
	assert.Equal(t, want, second.String())
}

type full struct{}

var errFull = errors.New("disk full")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestLinesKeepsTheFirstError(t *testing.T) {
	l := NewLines(full{})
	l.Record(Record{Event: Included{}})
	assert.ErrorIs(t, l.Err(), errFull)
}
