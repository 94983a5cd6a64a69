"""What a further run of a deployed pipeline does not do again: all that depends on the pipeline and its node types alone."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from lanemesh import Deployed
from lanemesh.server.file_roots import FileRoots
from lanemesh.server.node_files import NodeFiles
from lanemesh_orchestrator.runs import host_streams

from rigs.audit import audited
from rigs.joined import APART, ends, mesh_of
from rigs.runs import NODES, until

FIRST = {"Graph._shapes", "_plan", "_requirements", "validate"}
"""Functions that derive something from the pipeline. The first run calls them."""
ONCE = FIRST | {
    "BaseModel.model_json_schema",
    "GenerateJsonSchema.generate",
    "UserPackage.load",
    "load_file",
    "manifest_of",
    "realpath",
}
"""The same, and functions that derive something from a node type or a file. Earlier runs of this process may have called them."""
EVENTS = ("compile", "exec", "import", "open", "os.listdir", "os.scandir")
"""The audit events of modules and files. That of `import` has no cached modules."""


@contextmanager
def heard() -> Iterator[Counter[str]]:
    """How often each event occurs within the block."""
    found: Counter[str] = Counter()

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS:
            found[f"{event} {arguments[0]}"] += 1

    with audited(hear):
        yield found


@contextmanager
def called() -> Iterator[set[str]]:
    """The names of the functions that are called in this thread within the block."""
    found: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            found.add(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)


@pytest.mark.conformance("START-01")
async def test_a_further_run_of_a_deployment_repeats_nothing_that_depends_on_the_pipeline_alone() -> None:
    async with mesh_of("left", "right") as (_, client, servers):
        for server in servers:
            server.host.node_files = NodeFiles([NODES])
            server.host.files = FileRoots.of([Path.cwd()])
        with called() as first:
            await client.deploy("tags", APART)
            assert (await ends(client, Deployed("tags")))[0] == "completed"
        assert first >= FIRST
        for _ in range(2):
            assert (await ends(client, Deployed("tags")))[0] == "completed"
        with heard() as events, called() as names:
            assert (await ends(client, Deployed("tags")))[0] == "completed"
    assert not events
    assert names & ONCE == set()
    assert {"HostSession._place", "InstanceFactory._check_ports", "plan"} <= names


@pytest.mark.conformance("START-02")
async def test_a_stream_that_no_run_needs_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_streams, "SPARE_SECONDS", 0.05)
    async with mesh_of("left", "right") as (orchestrator, client, servers):

        def none_is_left() -> bool:
            streams = orchestrator.runs._streams
            assert streams is not None
            return not (streams.spare or streams.closing or any(server.host.spare for server in servers))

        for _ in range(2):
            assert (await ends(client, APART))[0] == "completed"
            await until(none_is_left)
