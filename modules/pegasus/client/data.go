package client

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/pegbook/pegbook/modules/pegasus/wire"
)

// Data reads and writes a table's values. It keeps where the partitions are and looks again when a
// server no longer has one. It is safe for concurrent use.
type Data struct {
	c    *Client
	name string

	mu        sync.Mutex
	table     wire.Table
	primaries []wire.Address
}

// Data opens a table.
func (c *Client) Data(name string) *Data { return &Data{c: c, name: name} }

// ErrNotFound is a key without a value.
var ErrNotFound = errors.New("there is no such key")

// Get reads a value.
func (d *Data) Get(ctx context.Context, key wire.Key) ([]byte, error) {
	reply, err := toPrimary(ctx, d, key, &wire.GetRequest{Key: key})
	switch {
	case err != nil:
		return nil, err
	case reply.Error == 1:
		return nil, ErrNotFound
	case reply.Error != 0:
		return nil, fmt.Errorf("%s could not read the key: error %d of its store", reply.Server, reply.Error)
	}
	return reply.Value, nil
}

// Put writes a value that does not expire.
func (d *Data) Put(ctx context.Context, key wire.Key, value []byte) error {
	reply, err := toPrimary(ctx, d, key, &wire.PutRequest{Key: key, Value: value})
	return updated(reply, err)
}

// Remove removes a value; one that is not there is no error.
func (d *Data) Remove(ctx context.Context, key wire.Key) error {
	reply, err := toPrimary(ctx, d, key, &wire.RemoveRequest{Key: key})
	return updated(reply, err)
}

func updated(reply *wire.UpdateResponse, err error) error {
	if err == nil && reply.Error != 0 {
		return fmt.Errorf("%s could not write the key: error %d of its store", reply.Server, reply.Error)
	}
	return err
}

// locate gives the table and the primary of a key's partition.
func (d *Data) locate(ctx context.Context, key wire.Key) (wire.Table, wire.Address, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.primaries == nil {
		if err := d.refresh(ctx); err != nil {
			return wire.Table{}, 0, err
		}
	}
	pid := d.table.Partition(key)
	primary := d.primaries[pid.Index]
	if primary == 0 {
		d.primaries = nil
		return d.table, 0, fmt.Errorf("partition %s of table %s has no primary", pid, d.name)
	}
	return d.table, primary, nil
}

func (d *Data) refresh(ctx context.Context) error {
	partitions, err := d.c.Partitions(ctx, d.name)
	if err != nil {
		return err
	}
	primaries := make([]wire.Address, len(partitions))
	for i, p := range partitions {
		if p.PID.Index != int32(i) {
			return fmt.Errorf("the meta server told of partition %s of table %s twice or not at all", p.PID, d.name)
		}
		primaries[i] = p.Primary
	}
	d.table = wire.Table{ID: partitions[0].PID.App, PartitionCount: int32(len(partitions))}
	d.primaries = primaries
	return nil
}

// toPrimary sends a request once to the primary it knows, and once more to the one that the leader
// names if the first had given the partition away. A write that may have arrived is not repeated.
func toPrimary[R wire.Reply](ctx context.Context, d *Data, key wire.Key, req wire.DataRequest[R]) (R, error) {
	var none R
	for attempt := 1; ; attempt++ {
		table, primary, err := d.locate(ctx, key)
		if err != nil {
			return none, err
		}
		timeout := d.c.opt.AnswerTimeout
		answer, err := d.c.send(ctx, primary.String(), timeout, func(seq int32) ([]byte, error) {
			return wire.EncodeData(seq, timeout, table, req)
		})
		if err == nil && answer.Err == wire.OK {
			reply := wire.NewDataReply(req)
			return reply, answer.Decode(reply)
		}
		if err == nil {
			err = &ServerError{Addr: primary.String(), Code: req.Code(), Err: answer.Err}
		}
		d.mu.Lock()
		d.primaries = nil
		d.mu.Unlock()
		var silent *NoAnswerError
		if errors.As(err, &silent) && silent.Sent || attempt == 2 || ctx.Err() != nil {
			return none, err
		}
	}
}
