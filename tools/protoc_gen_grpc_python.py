"""Buf plugin that writes Python gRPC stubs with the protoc inside grpcio-tools.

The stub generator of gRPC is compiled into `grpc_tools` and is not a plugin of its own, so this
file speaks the plugin protocol on its behalf: a `CodeGeneratorRequest` on standard input, a
`CodeGeneratorResponse` on standard output (see google/protobuf/compiler/plugin.proto).
"""

import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc


def generate(request: plugin_pb2.CodeGeneratorRequest) -> plugin_pb2.CodeGeneratorResponse:
    """Return `*_pb2_grpc.py` for those requested files that define a service."""
    with_services = {file.name for file in request.proto_file if file.service}
    wanted = [name for name in request.file_to_generate if name in with_services]
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    )
    if not wanted:
        return response
    with tempfile.TemporaryDirectory() as folder:
        descriptors = Path(folder, "descriptors.binpb")
        descriptors.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
        output = Path(folder, "output")
        output.mkdir()
        arguments = [f"--descriptor_set_in={descriptors}", f"--grpc_python_out={output}", *wanted]
        if protoc.main(["protoc", *arguments]) != 0:
            response.error = "grpc_tools.protoc failed; its message is above"
            return response
        for path in sorted(output.rglob("*.py")):
            name = path.relative_to(output).as_posix()
            response.file.add(name=name, content=path.read_text(encoding="utf-8"))
    return response


if __name__ == "__main__":
    parsed = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    sys.stdout.buffer.write(generate(parsed).SerializeToString())
