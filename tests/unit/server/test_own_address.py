"""The address that a server gives to others, when it listens on all addresses of its machine."""

from __future__ import annotations

import logging
import re
import socket
from pathlib import Path

import pytest
from lanemesh._grpc.own_address import own_address

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("bound", ["127.0.0.2:7", "[::1]:7", "mesh.example:7"])
async def test_an_address_that_others_can_dial_is_given_as_it_is(bound: str) -> None:
    assert await own_address(bound, "127.0.0.1:1") == bound


@pytest.mark.parametrize(
    ("bound", "peer", "given"),
    [
        ("0.0.0.0:7", "127.0.0.1:1", "127.0.0.1:7"),
        ("0.0.0.0:7", "localhost:1", "127.0.0.1:7"),
        ("[::]:7", "127.0.0.1:1", "127.0.0.1:7"),
    ],
)
async def test_for_all_addresses_it_is_the_one_on_the_way_to_the_peer(bound: str, peer: str, given: str) -> None:
    assert await own_address(bound, peer) == given


async def test_without_a_way_it_is_never_the_unspecified_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")
    with caplog.at_level(logging.WARNING):
        assert await own_address("0.0.0.0:7", "unix:/nowhere") == "127.0.0.1:7"
        assert caplog.text.count("name it with --advertise HOST:PORT") == 1
        assert await own_address("0.0.0.0:7", "unix:/nowhere", "127.0.0.1:7") == "127.0.0.1:7"
        assert caplog.text.count("name it with --advertise HOST:PORT") == 1
        await own_address("0.0.0.0:7", "unix:/nowhere", "10.0.0.1:7")
        assert caplog.text.count("name it with --advertise HOST:PORT") == 2


def test_no_node_server_of_the_compose_file_gives_the_name_of_its_service() -> None:
    text = re.sub(r"(?m)(^|\s)#.*$", "", (ROOT / "compose.yaml").read_text(encoding="utf-8"))
    parts = {part.partition(":")[0].strip(): part for part in re.split(r"(?m)^(?=[\w-]+:|  [\w-]+:$)", text)}
    nodes = {name for name, part in parts.items() if re.search(r"command: \[?node\b", part)}
    assert nodes == {"llm", "agent", "tools", "text", "documents"}
    assert all(re.search(r"environment:( \*node$|\n +<<: .*\*node\b)", parts[name], re.M) for name in nodes)
    assert "LANEMESH_NODE_ORCHESTRATOR: " in parts["x-node-environment"]
    assert [name for name, part in parts.items() if re.search(r"advertise", part, re.IGNORECASE)] == ["orchestrator"]
