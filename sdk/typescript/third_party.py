"""Writes the descriptors of other projects' protos that the TypeScript package needs: those of the installed Python packages."""

from __future__ import annotations

import sys
from pathlib import Path

from google.protobuf import any_pb2, descriptor_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2


def main(target: Path) -> None:
    """Writes a FileDescriptorSet to `target`."""
    files = descriptor_pb2.FileDescriptorSet()
    for module in (any_pb2, duration_pb2, error_details_pb2, status_pb2, health_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(files.SerializeToString())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
