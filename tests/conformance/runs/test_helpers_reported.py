"""What a run reports of its helpers: calls and tokens, and at the trace levels their requests and answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from lanemesh.client.run_reader import wire_updates
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator import Mesh

from endings import lasting
from rigs.runs import line, node

pytestmark = [pytest.mark.asyncio(loop_scope="session")]

KEY = "sk-very-secret"
NODES = Path(__file__).with_name("helper_nodes.py")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def spread_helpers() -> AsyncIterator[Mesh]:
    async with lasting("the spread mesh", Mesh("component", nodes=[NODES])) as mesh:
        yield mesh


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def embedded_helpers() -> AsyncIterator[Mesh]:
    async with lasting("the embedded mesh", Mesh(nodes=[NODES])) as mesh:
        yield mesh


@pytest.fixture(params=["embedded", "spread"])
def helping_mesh(request: pytest.FixtureRequest) -> Mesh:
    found: Mesh = request.getfixturevalue(f"{request.param}_helpers")
    return found


def asking(tool: str = "doubler") -> dict[str, Any]:
    """A node that asks a model and a tool."""
    document = line(node("a", "consult", "chat"))
    helpers = [
        {"id": "m", "provider": "teller", "config": {"key": KEY}, "control": [{"classType": "llm", "from": "a"}]},
        {"id": "t", "provider": tool, "control": [{"classType": "tool", "from": "a"}]},
    ]
    document["components"] = [*document["components"], *helpers]
    return document


async def updates_of(mesh: Mesh, text: str, trace: str = "none") -> list[update_pb2.Update]:
    return [update async for update in wire_updates(mesh.run(asking(), input=text, trace=trace))]  # type: ignore[arg-type]


async def test_calls_and_tokens_of_helpers_are_reported(helping_mesh: Mesh) -> None:
    updates = await updates_of(helping_mesh, "one two")

    latest = {one.helper.component: one.helper for one in updates if one.WhichOneof("kind") == "helper"}
    assert {name: (one.calls, one.active_calls, one.failed_calls) for name, one in latest.items()} == {
        "m": (1, 0, 0),
        "t": (1, 0, 0),
    }
    assert (latest["m"].usage.prompt_tokens, latest["m"].usage.completion_tokens) == (5, 3)
    assert not latest["t"].HasField("usage")
    assert updates[-1].job.input_count == 1
    assert [one.summary for one in updates[-1].job.inputs] == ["one two"]
    (ended,) = [
        one.node for one in updates if one.node.component == "a" and one.node.state == update_pb2.NODE_STATE_COMPLETED
    ]
    assert ended.busy.ToNanoseconds() > 0
    assert not [one for one in updates if one.WhichOneof("kind") == "trace"]


async def test_no_call_is_active_at_the_end_of_a_run(helping_mesh: Mesh) -> None:
    run = helping_mesh.run(asking("slow_to_leave"), input="one")
    updates = [update async for update in wire_updates(run)]

    assert updates[-1].job.state == update_pb2.RUN_STATE_COMPLETED
    reported = [one.helper for one in updates if one.helper.component == "t"]
    assert (reported[-1].calls, reported[-1].active_calls) == (1, 0)


async def test_a_call_that_fails_counts_as_failed(helping_mesh: Mesh) -> None:
    updates = await updates_of(helping_mesh, "fail", "full")

    assert updates[-1].job.error.message.endswith("no answer")
    traces = [one.trace for one in updates if one.trace.edge_id == "a>m:llm"]
    assert "no answer" in json.loads(traces[-1].item.data_json)["error"]["message"]


async def test_control_connections_are_traced_with_prompts_arguments_and_results(helping_mesh: Mesh) -> None:
    updates = await updates_of(helping_mesh, f"one {KEY}", "full")

    said: dict[str, list[Any]] = {}
    for update in updates:
        if ">" in update.trace.edge_id and ":" in update.trace.edge_id:
            said.setdefault(update.trace.edge_id, []).append(json.loads(update.trace.item.data_json))
    prompt, answer = said["a>m:llm"]
    assert prompt == {"request": {"messages": [{"role": "user", "content": "one ***"}], "sampling": {}}}
    assert answer["response"]["text"] == "one *** "
    assert answer["response"]["usage"] == {"prompt_tokens": 5, "completion_tokens": 3}
    call, result = said["a>t:tool"]
    assert json.loads(call["request"]["arguments_json"]) == {"number": 21}
    assert result["response"]["content_json"] == "42"
