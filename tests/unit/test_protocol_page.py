"""docs/protocol.md: what of it is generated, what it quotes, and its length."""

from __future__ import annotations

import re

import pytest
from google.protobuf import text_format
from google.protobuf.message import Message
from google.rpc import status_pb2
from lanemesh.server.host.host import NodeHost
from lanemesh.server.services import load_file
from lanemesh.v1 import gpu_pb2, lane_pb2, node_pb2, registry_pb2, run_pb2
from lanemesh_orchestrator.cli.commands.conformance import nodes_path
from lanemesh_orchestrator.conformance.checks import CHECKS, LEVELS
from lanemesh_orchestrator.conformance.suite import SUITE

import protocol_page

PAGE = protocol_page.PAGE.read_text(encoding="utf-8")
REASONS = (protocol_page.ROOT / "docs" / "reasons.md").read_text(encoding="utf-8")
MAX_BYTES = 46_500
"""Fifteen printed pages."""


def test_its_generated_parts_are_those_of_the_code() -> None:
    assert protocol_page.page(PAGE) == PAGE, "run `make protocol-page` and commit the result"


def test_it_has_at_most_fifteen_pages() -> None:
    assert len(PAGE.encode()) <= MAX_BYTES


GOLDEN = re.findall(r"^(?:->|<-) [^:]+: (\w+) \{ (.*) \}\n   ([0-9a-f]+|-)$", PAGE, re.MULTILINE)


def test_there_are_golden_frames() -> None:
    assert len(GOLDEN) == len(protocol_page.session()) + len(protocol_page.others())


@pytest.mark.parametrize(("name", "text", "encoded"), GOLDEN)
def test_golden_frames_decode_to_what_stands_beside_them(name: str, text: str, encoded: str) -> None:
    module = next(each for each in (node_pb2, lane_pb2, registry_pb2, status_pb2) if hasattr(each, name))
    kind: type[Message] = getattr(module, name)
    wanted = kind() if text == "(empty)" else text_format.Parse(text, kind())
    assert kind.FromString(b"" if encoded == "-" else bytes.fromhex(encoded)) == wanted


def test_every_reason_that_it_names_exists() -> None:
    codes = "|".join(sorted({"NOT_FOUND", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "ALREADY_EXISTS", "DATA_LOSS"}))
    named = set(
        re.findall(rf"(?:{codes}|UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|CANCELLED) `([a-z-]+)`", PAGE)
    )
    assert len(named) > 15
    assert not {reason for reason in named if f"| `{reason}` |" not in REASONS}


def test_every_rule_of_a_check_is_a_heading() -> None:
    headings = set(re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE))
    assert SUITE
    assert not {check.rule for check in CHECKS} - headings


def test_the_checks_are_in_order_and_their_ids_are_unique() -> None:
    assert [check.level for check in CHECKS] == sorted((check.level for check in CHECKS), key=LEVELS.index)
    assert len({check.id for check in CHECKS}) == len(CHECKS)


def test_it_describes_the_node_types_of_the_test() -> None:
    host = NodeHost([load_file(nodes_path())])
    for manifest in host.manifests():
        assert f"`{manifest.provider}`" in PAGE


@pytest.mark.parametrize(
    "message",
    [
        *(node_pb2.HostRequest, node_pb2.HostResponse, lane_pb2.ExchangeRequest, lane_pb2.ExchangeResponse),
        *(registry_pb2.RegisterRequest, registry_pb2.RegisterResponse, run_pb2.RunRequest),
        *(gpu_pb2.LeaseRequest, gpu_pb2.LeaseResponse),
    ],
    ids=lambda message: str(message.DESCRIPTOR.name),
)
def test_it_names_every_frame(message: type[Message]) -> None:
    frames = {field.name for oneof in message.DESCRIPTOR.oneofs for field in oneof.fields}
    assert not {frame for frame in frames if not re.search(rf"`[^`]*\b{frame}\b[^`]*`", PAGE)}


@pytest.mark.parametrize("message", [node_pb2.Place, node_pb2.Edge, lane_pb2.LaneOpen, node_pb2.Instance])
def test_it_names_every_field_of_what_begins_a_run(message: type[Message]) -> None:
    explained_by_the_proto = {"traceparent", "session_id", "depth", "trace", "controls", "output", "input"}
    fields = {field.name for field in message.DESCRIPTOR.fields} - explained_by_the_proto
    assert not {field for field in fields if not re.search(rf"\b{field}\b", PAGE)}


def test_the_order_of_work_names_checks() -> None:
    begin = PAGE.index("An order that works")
    steps = PAGE[begin : PAGE.index("## A golden session")]
    named = re.findall(r"`([a-z-]+)`", steps.partition("\n\n")[2])
    beginnings = [name for name in named if name not in ("place", "connect", "start", "finished")]
    ids = [check.id for check in CHECKS]
    assert not [name for name in beginnings if not any(id_.startswith(name) for id_ in ids)]
