package pegasus

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/modules/pegasus/internal/fake"
)

func TestCopyRate(t *testing.T) {
	b := newBed(t, 4)
	b.locked(func() {
		b.Nodes[1].Rates = map[string]string{"nfs.max_copy_rate_megabytes": "500"} // one of 2.2
		b.Nodes[2].Alive = false
		b.Dead[fake.Replica(3)] = true
	})
	out, changed, err := b.do(copyRateModule(), `{"megabytes": 50}`)
	require.NoError(t, err)
	assert.True(t, changed)
	assert.JSONEq(t, `{"before": {"`+fake.Replica(1)+`": 500, "`+fake.Replica(2)+`": 500, "`+fake.Replica(4)+`": 500, "`+fake.Replica(5)+`": 500}, "was": 500, "now": 50}`, out)
	b.locked(func() {
		assert.Equal(t, map[string]string{"nfs.max_copy_rate_megabytes": "50"}, b.Nodes[1].Rates)
		assert.Equal(t, "50", b.Nodes[4].Rates["nfs.max_send_rate_megabytes_per_disk"])
	})
	_, changed, err = b.do(copyRateModule(), `{"megabytes": 50}`)
	require.NoError(t, err)
	assert.False(t, changed)
}

func TestCopyRateOfAServerThatHasNone(t *testing.T) {
	b := newBed(t, 4)
	b.locked(func() { b.Nodes[1].Rates = nil })
	_, _, err := b.do(copyRateModule(), `{"megabytes": 50}`)
	require.ErrorContains(t, err, fake.Replica(2)+" knows no limit of the copy rate")
}

func TestBlackListIsASetting(t *testing.T) {
	b := newBed(t, 4)
	set := `{"settings": {"assign_secondary_black_list": "` + fake.Replica(2) + `,` + fake.Replica(1) + `"}}`
	b.converge(settingsModule(), set, false)
	_, changed, err := b.do(settingsModule(), `{"settings": {"assign_secondary_black_list": "`+fake.Replica(1)+`,`+fake.Replica(2)+`"}}`)
	require.NoError(t, err)
	assert.False(t, changed, "the order does not matter")
	for range 2 {
		_, _, err = b.do(settingsModule(), `{"settings": {"assign_secondary_black_list": "clear"}}`)
		require.NoError(t, err)
	}
	_, changed, err = b.do(settingsModule(), `{"settings": {"assign_secondary_black_list": ""}}`)
	require.NoError(t, err)
	assert.False(t, changed)
}
