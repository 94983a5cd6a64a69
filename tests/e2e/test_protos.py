"""The wire contract: what old peers cannot read does not pass, and every proto says where other languages put it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

ROOT = Path(__file__).parents[2]
BASELINE = ROOT / "protos" / "baseline.binpb"


def committed() -> FileDescriptorSet:
    return FileDescriptorSet.FromString(BASELINE.read_bytes())


def file_of(protos: FileDescriptorSet, name: str) -> FileDescriptorProto:
    return next(file for file in protos.file if file.name == f"lanemesh/v1/{name}.proto")


def breaking(protos: FileDescriptorSet, folder: Path) -> str:
    """What `buf breaking` reports of protos, compared with the baseline."""
    image = folder / "image.binpb"
    image.write_bytes(protos.SerializeToString())
    config = ["--config", "buf.yaml", "--against", str(BASELINE), "--against-config", "buf.yaml"]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("buf")), "breaking", str(image), *config],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (not done.stdout), done.stderr
    return done.stdout


def renumber(protos: FileDescriptorSet) -> None:
    file_of(protos, "lane").message_type[0].field[0].number = 999


def remove(protos: FileDescriptorSet) -> None:
    del file_of(protos, "update").message_type[0].field[0]


def rename(protos: FileDescriptorSet) -> None:
    file_of(protos, "run").message_type[0].field[0].name = "another_name"


def remove_enum_value(protos: FileDescriptorSet) -> None:
    del file_of(protos, "control").enum_type[0].value[-1]


@pytest.mark.parametrize("change", [renumber, remove, rename, remove_enum_value])
def test_a_change_that_old_peers_cannot_read_is_reported(
    change: Callable[[FileDescriptorSet], None], tmp_path: Path
) -> None:
    protos = committed()
    change(protos)
    assert "lanemesh/v1/" in breaking(protos, tmp_path)


def test_a_further_field_is_no_such_change(tmp_path: Path) -> None:
    protos = committed()
    message = file_of(protos, "run").message_type[0]
    message.field.add(name="further", number=900, type=9, label=1, json_name="further")
    assert breaking(protos, tmp_path) == ""


def test_every_proto_has_the_options_of_other_languages() -> None:
    ours = [file for file in committed().file if file.name.startswith("lanemesh/")]
    assert len(ours) == 10
    for file in ours:
        options = file.options
        assert options.go_package == "lanemesh/v1;lanemeshv1", file.name
        assert (options.java_package, options.csharp_namespace) == ("lanemesh.v1", "Lanemesh.V1"), file.name
