package replica

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pegbook/pegbook/lab/pegasus/internal/config"
	"github.com/pegbook/pegbook/lab/pegasus/internal/peer"
)

func TestDiskKeepsWritesAndDropsACutOffLine(t *testing.T) {
	dirs := []config.DataDir{{Tag: "a", Dir: t.TempDir()}, {Tag: "b", Dir: t.TempDir()}}
	pid := peer.GPID{App: 2, Pidx: 3}
	d := place(dirs, map[string]int{"a": 1}, pid)
	require.Equal(t, "b", d.tag)
	require.NoError(t, d.create(peer.Table{ID: 2, Name: "temp"}))
	_, _, _, _, err := d.open()
	require.NoError(t, err)
	require.NoError(t, d.append(1, peer.Op{Key: []byte("k"), Value: []byte("v")}))
	require.NoError(t, d.append(2, peer.Op{Key: []byte("gone"), Value: []byte("v")}))
	require.NoError(t, d.append(3, peer.Op{Key: []byte("gone"), Delete: true}))
	require.NoError(t, d.setBallot(7))
	_, err = d.log.WriteString(`{"n":4,"o":{"k":`)
	require.NoError(t, err)
	d.close()

	found, err := scan(dirs)
	require.NoError(t, err)
	require.Len(t, found, 1)
	table, ballot, data, decree, err := found[pid].open()
	require.NoError(t, err)
	require.Equal(t, "temp", table.Name)
	require.Equal(t, int64(7), ballot)
	require.Equal(t, int64(3), decree)
	require.Equal(t, map[string]record{"k": {value: []byte("v")}}, data)
	require.NoError(t, found[pid].append(4, peer.Op{Key: []byte("after"), Value: []byte("v")}))
	found[pid].close()
	_, _, data, _, err = found[pid].open()
	require.NoError(t, err)
	require.Len(t, data, 2)
	found[pid].close()
}

func TestLongLogIsRewrittenWhenOpened(t *testing.T) {
	dirs := []config.DataDir{{Tag: "a", Dir: t.TempDir()}}
	d := place(dirs, nil, peer.GPID{App: 1})
	require.NoError(t, d.create(peer.Table{ID: 1}))
	_, _, _, _, err := d.open()
	require.NoError(t, err)
	for i := range 2000 {
		require.NoError(t, d.append(int64(i+1), peer.Op{Key: []byte("k"), Value: fmt.Append(nil, i)}))
	}
	d.close()
	_, _, data, decree, err := d.open()
	require.NoError(t, err)
	d.close()
	require.Equal(t, int64(2000), decree)
	require.Equal(t, "1999", string(data["k"].value))
	info, err := os.Stat(filepath.Join(d.dir, "data", "log"))
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(200))
	_, _, _, decree, err = d.open()
	require.NoError(t, err)
	require.Equal(t, int64(2000), decree)
	d.close()
}
