"""Bodies in processes of their own: what goes there and back, what they have not, and that they do not outlive their server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from lanemesh import Answer, Context, Document, Image, In, LanemeshError, Node, Question, Table, Tags
from lanemesh._aio.generators import MAX_AHEAD
from lanemesh.server.host.rules import is_isolated, rules_of
from lanemesh.server.isolation import frames as frames
from lanemesh.testing import run_node
from lanemesh.v1 import node_pb2

from conformance.server import isolated_nodes as nodes

VALUES = [
    "tëxt",
    Question("why?", documents=(Document("d", metadata={"a": [1]}),), schema={"type": "object"}),
    Answer("so", finish_reason="stop"),
    Document("d", embedding=(0.5, 1.0), metadata={"a": {"b": [None]}}),
    Table(("a", "b"), ((1, "x"), (2, None))),
    Tags({"a": [1, {"b": 2}]}),
    Image("image/png", bytes(3_000_000)),
    {"a": [1, 2**63 - 1, None, True, "x"]},
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_of_every_lane_go_there_and_back(value: Any) -> None:
    written = frames.to_bytes(frames.Fire({"value": value}))
    read = frames.from_bytes(written[frames.LENGTH.size :])
    assert read == frames.Fire({"value": value})
    assert type(read.values["value"]) is type(value)


@pytest.mark.usefixtures("new_interpreters")
def test_a_class_of_an_installed_module_runs_in_a_process_of_its_own() -> None:
    result = run_node(nodes.Echo, value=[{"a": [1]}, None, "x" * 1_000_000])
    assert (result.same, result.firings) == ([{"a": [1]}, None, "x" * 1_000_000], 3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lambda", "pickle"),
        ("system exit", "SystemExit: 4"),
        ("latest", "its body is isolated"),
        ("llm", "its body is isolated"),
        ("tools", "its body is isolated"),
        ("channels", "its body is isolated"),
        ("client", "its body is isolated"),
    ],
)
def test_the_limits_of_an_isolated_body_are_reported(text: str, told: str) -> None:
    with pytest.raises(LanemeshError, match=told):
        run_node(nodes.Odd, text=text)


def test_processes_that_have_died_leave_nothing() -> None:
    before = set(psutil.Process().children(recursive=True)), psutil.Process().num_fds()
    result = run_node(nodes.Odd, text=["fine", "exit", "exit", "fine"], on_error="skip", concurrency=2)
    assert (result.said, result.firings, result.skipped) == (["fine", "fine"], 4, 2)
    assert (set(psutil.Process().children(recursive=True)), psutil.Process().num_fds()) == before


async def test_buffered_output_of_a_killed_process_does_not_keep_it(tmp_path: Path, caplog: Any) -> None:
    """Its reader is full, so the end of its pipe is not looked for until the rest is read."""
    node = nodes.Flooding()
    node.text = str(tmp_path / "count")
    body = await nodes.started(node)
    flood = body.generate(node)
    assert (await anext(flood))[0] == "much"
    await asyncio.to_thread(nodes.flooded, node.text)
    await flood.aclose()
    await body.close()
    assert not caplog.records


@pytest.mark.conformance("FIRE-23")
def test_an_isolated_generator_has_a_context_of_its_own() -> None:
    result = run_node(nodes.Variables, text=["a", "b"])
    assert result.found == ["", "a", "0.3333", "", "b", "0.3333"]


@pytest.mark.conformance("FIRE-24")
async def test_an_isolated_generator_runs_ahead_up_to_its_bound(tmp_path: Path) -> None:
    node = nodes.Ahead()
    file = tmp_path / "taken"
    file.write_text("0")
    node.text = str(file)
    body = await nodes.started(node)
    for _ in range(2):  # a firing begins anew
        taken = 0
        file.write_text("0")
        async for _, most in body.generate(node):
            taken += 1
            assert most <= MAX_AHEAD
            temporary = file.with_suffix(".next")
            temporary.write_text(str(taken))
            temporary.replace(file)
        assert taken == 999
    await body.close()


def test_an_error_of_load_is_reported() -> None:
    with pytest.raises(LanemeshError, match="OSError: no such model") as caught:
        run_node(nodes.Unloadable, text="x")
    assert "isolated_nodes.py" in caught.value.fault.traceback


def test_a_class_that_no_other_process_finds_is_refused() -> None:
    class Local(Node):
        isolation = "process"
        text: In[str]

        def process(self, context: Context) -> None:
            """Never comes to this."""

    with pytest.raises(LanemeshError, match="only from the top level of a module that has a file"):
        run_node(Local, text="x")


class Driving(Node):
    """Drives its own inputs."""

    text: In[str]

    async def run(self, context: Context, inputs: Any, outputs: Any) -> None:
        """Ends at once."""


@pytest.mark.parametrize(
    "settings",
    [
        {"isolation": node_pb2.ISOLATION_PROCESS},
        {"concurrency": 2},
        {"on_error": node_pb2.OnError(policy=node_pb2.OnError.POLICY_SKIP)},
    ],
)
def test_what_only_firings_can_have_is_refused_for_run(settings: dict[str, Any]) -> None:
    with pytest.raises(
        LanemeshError, match=f"drive_1 .* implements run, but `{next(iter(settings))}` is only for firings"
    ):
        rules_of(node_pb2.Instance(component="drive_1", provider="driving", **settings), Driving)


def test_an_instance_may_override_its_class() -> None:
    thread, process = node_pb2.ISOLATION_THREAD, node_pb2.ISOLATION_PROCESS
    said = [is_isolated(node_pb2.Instance(isolation=isolation), nodes.Echo) for isolation in (0, thread, process)]  # type: ignore[arg-type]
    assert said == [True, False, True]


def test_an_isolated_body_dies_with_its_server() -> None:
    """The body reports its process id, and its server is killed."""
    tests = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", f"import sys; sys.path.append({tests!r}); "]
    command[-1] += "import asyncio; from conformance.server.isolated_nodes import serve; asyncio.run(serve())"
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    body = psutil.Process(int(server.stderr.readline()))
    server.kill()
    server.wait()
    body.wait(5)
    server.stderr.close()
