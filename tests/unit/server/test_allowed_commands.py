"""The commands, variables and hosts that configs may name on a node server."""

from __future__ import annotations

from typing import Any

import pytest
from lanemesh import Node
from lanemesh.faults import LanemeshError
from lanemesh.server.file_roots import FileRoots, schema_of
from lanemesh_services.file.table_writer import TableWriter
from lanemesh_services.memory.store import MemoryStore
from lanemesh_services.tools.mcp import ToolMcp

SCHEMA = schema_of(ToolMcp.Config)


def refusal(config: dict[str, Any], *commands: str, hosts: tuple[str, ...] = ()) -> str:
    """The reason and the message of a refused config; empty if it is allowed."""
    try:
        FileRoots.of([], commands=commands, hosts=hosts).check(config, SCHEMA, "mcp_1")
    except LanemeshError as error:
        return f"{error.fault.reason}: {error}"
    return ""


@pytest.mark.parametrize(
    ("command", "allowed", "is_allowed"),
    [
        (["npx", "-y", "server", "--root", "/tmp"], ["npx -y server"], True),
        (["npx", "-y", "server"], ["npx -y server"], True),
        (["npx", "-y", "server2"], ["npx -y server"], False),
        (["npx", "server", "-y"], ["npx -y server"], False),
        (["npx"], ["npx -y server"], False),
        (["/usr/bin/npx", "-y", "server"], ["npx -y server"], False),
        (["my server", "a b"], ["'my server'"], True),
        (["anything"], ["*"], True),
        (["anything"], [], False),
        (["b"], ["a", "b"], True),
    ],
)
def test_a_command_has_to_begin_with_an_allowed_one(command: list[str], allowed: list[str], is_allowed: bool) -> None:
    found = refusal({"command": command}, *allowed)
    assert (not found) is is_allowed
    if not is_allowed:
        assert found.startswith("command-not-allowed: mcp_1: config.command names the command")
        assert f"--allow 'command:{command[0]} ...'" in found


@pytest.mark.parametrize(
    ("variable", "allowed", "is_allowed"),
    [
        ("KEY", "KEY= server", True),
        ("KEY", "OTHER= KEY= server", True),
        ("LD_PRELOAD", "KEY= server", False),
        ("PATH", "server", False),
        ("PATH", "*", True),
    ],
)
def test_variables_have_to_be_allowed(variable: str, allowed: str, is_allowed: bool) -> None:
    found = refusal({"command": ["server"], "env": {variable: "x"}}, allowed)
    assert (not found) is is_allowed
    if not is_allowed:
        assert found.startswith("variable-not-allowed: mcp_1: config.env sets the environment variable")
        assert f"--allow 'command:{variable}= COMMAND'" in found


@pytest.mark.parametrize(
    ("url", "allowed", "is_allowed"),
    [
        ("https://mcp.example/mcp", ("mcp.example",), True),
        ("https://MCP.Example:8443/mcp", ("mcp.example",), True),
        ("https://mcp.example/mcp", ("mcp.example:443",), True),
        ("http://mcp.example/mcp", ("mcp.example:443",), False),
        ("https://other.example/mcp?mcp.example", ("mcp.example",), False),
        ("https://mcp.example@other.example/mcp", ("mcp.example",), False),
        ("https://mcp.example.other.example/", ("mcp.example",), False),
        ("http://127.0.0.1/", ("*",), True),
        ("http://127.0.0.1/", (), False),
        ("nonsense", ("mcp.example",), False),
        ("http://[::1]:7000/", ("[::1]:7000",), True),
        ("http://[::1]/", ("[::1]",), True),
        ("http://1/", ("[::1]",), False),
        ("https://mcpxexample/", ("mcp?example",), False),
        ("http://[::1/", ("mcp.example",), False),
    ],
)
def test_the_host_of_a_url_has_to_be_allowed(url: str, allowed: tuple[str, ...], is_allowed: bool) -> None:
    found = refusal({"url": url}, hosts=allowed)
    assert (not found) is is_allowed
    if not is_allowed:
        assert found.startswith("host-not-allowed: mcp_1: config.url")


@pytest.mark.parametrize("node", [TableWriter, MemoryStore])
def test_the_host_of_a_database_has_to_be_allowed(node: type[Node]) -> None:
    config = {"url": "postgresql://user:s3cret@10.0.0.5/db"}
    schema = schema_of(node.Config)
    FileRoots.of([], hosts=["10.0.0.5:5432"]).check(config, schema, "node_1")
    with pytest.raises(LanemeshError, match=r"config\.url names the host") as raised:
        FileRoots.of([], hosts=["10.0.0.5:5433"]).check(config, schema, "node_1")
    assert raised.value.fault.reason == "host-not-allowed"
    assert "s3cret" not in raised.value.fault.message
