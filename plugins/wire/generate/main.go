// Command generate makes the Go code of the wire from plugin.proto. It needs no protoc: the file is compiled
// here, and the two official generators, at the versions below, get what protoc would give them.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const file = "plugin.proto"

func main() {
	if err := generate(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func generate(ctx context.Context) error {
	compiler := protocompile.Compiler{Resolver: &protocompile.SourceResolver{}, SourceInfoMode: protocompile.SourceInfoStandard}
	compiled, err := compiler.Compile(ctx, file)
	if err != nil {
		return err
	}
	described := protodesc.ToFileDescriptorProto(compiled.FindFileByPath(file))
	for _, generator := range []string{
		"google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12",
		"google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2",
	} {
		if err := run(ctx, generator, described); err != nil {
			return fmt.Errorf("%s: %w", generator, err)
		}
	}
	described.SourceCodeInfo = nil
	set, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{described}})
	if err != nil {
		return err
	}
	return os.WriteFile("plugin.desc", set, 0o644)
}

func run(ctx context.Context, generator string, described *descriptorpb.FileDescriptorProto) error {
	request, err := proto.Marshal(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{file},
		Parameter:      proto.String("paths=source_relative"),
		ProtoFile:      []*descriptorpb.FileDescriptorProto{described},
	})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "run", generator)
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(request), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &response); err != nil {
		return err
	}
	if response.Error != nil {
		return fmt.Errorf("%s", response.GetError())
	}
	for _, f := range response.File {
		if err := os.WriteFile(f.GetName(), []byte(f.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
