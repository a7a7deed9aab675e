package wire

import (
	"os"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
)

// go generate ./plugins/wire makes both from plugin.proto.
func TestGeneratedCodeIsFresh(t *testing.T) {
	compiler := protocompile.Compiler{Resolver: &protocompile.SourceResolver{}}
	compiled, err := compiler.Compile(t.Context(), "plugin.proto")
	require.NoError(t, err)
	want := protodesc.ToFileDescriptorProto(compiled.FindFileByPath("plugin.proto"))
	want.SourceCodeInfo = nil
	require.True(t, proto.Equal(want, protodesc.ToFileDescriptorProto(File_plugin_proto)), "plugin.pb.go is stale")
	raw, err := os.ReadFile("plugin.desc")
	require.NoError(t, err)
	var set descriptorpb.FileDescriptorSet
	require.NoError(t, proto.Unmarshal(raw, &set))
	require.True(t, proto.Equal(want, set.File[0]), "plugin.desc is stale")
}
