package plugins

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/pegbook/pegbook/plugins/wire"
)

// Loopback is for tests: parts of this process behind the wire, as if they came from a plugin called loopback.
func Loopback(ctx context.Context, o Options, all ...Part) (*Plugin, error) {
	return loopback(ctx, o, newServer(all))
}

func loopback(ctx context.Context, o Options, plugin wire.PluginServer) (*Plugin, error) {
	listener := bufconn.Listen(1 << 20)
	s := newGRPCServer(nil)
	wire.RegisterPluginServer(s, plugin)
	go func() { _ = s.Serve(listener) }() // ends with Stop
	client, err := grpc.NewClient("passthrough:loopback", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
	if err != nil {
		s.Stop()
		return nil, err
	}
	p := &Plugin{name: "loopback", file: File{Path: "loopback"}, options: o.complete()}
	p.now = &process{PluginClient: wire.NewPluginClient(client), close: func() {
		client.Close()
		s.Stop()
	}}
	if err := p.describe(ctx); err != nil {
		p.now.stop()
		return nil, err
	}
	return p, nil
}
