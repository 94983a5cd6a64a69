"""Memories and agents as helpers in runs: within one process, and over gRPC between processes."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from lanemesh import LogUpdate, PipelineInvalid, ThoughtUpdate, TraceUpdate
from lanemesh.client.updates import HelperUpdate, OutputUpdate
from lanemesh_orchestrator import Mesh
from lanemesh_services.memory import internal
from lanemesh_services.memory.guarded import Guarded
from lanemesh_services.memory.in_process import Entries
from lanemesh_services.memory.internal import MEMORIES

from rigs import memory_nodes
from rigs.runs import Component, Pipeline, chat, node, pipeline, response

NODES = Path(memory_nodes.__file__)


@pytest.fixture(params=[None, "component"], ids=["memory", "grpc"])
async def mesh(request: pytest.FixtureRequest) -> AsyncIterator[Mesh]:
    async with Mesh(request.param, nodes=[NODES]) as mesh:
        yield mesh


def helper(name: str, provider: str, kind: str, *invokers: str, **config: Any) -> Component:
    entries = [{"classType": kind, "from": invoker} for invoker in invokers]
    return {"id": name, "provider": provider, "config": config, "control": entries}


def swapping(provider: str = "memory_internal", **config: Any) -> Pipeline:
    memory = helper("memory", provider, "memory", "swap", **config)
    return pipeline(chat(), node("swap", "swap", "chat"), memory, response("swap"))


async def swap(mesh: Mesh, document: Pipeline, *texts: str, session: str = "") -> tuple[Any, ...]:
    result = await mesh.run(document, inputs=texts, session=session).result()
    assert result.error is None
    return result.values


@pytest.mark.conformance("CTRL-09")
@pytest.mark.parametrize("provider", ["memory_internal", "memory_store"])
async def test_the_memory_of_a_run_is_its_own_and_ends_with_it(mesh: Mesh, provider: str, tmp_path: Path) -> None:
    document = swapping(provider, **({"file": str(tmp_path / "m.sqlite")} if provider == "memory_store" else {}))
    before = MEMORIES.size

    results = await asyncio.gather(
        *(swap(mesh, document, f"run a {number}", f"run a {number + 1}", session="shared") for number in range(4))
    )

    assert results == [("None ['a']", f"{number} ['a']") for number in range(4)]
    assert await swap(mesh, document, "run b x") == ("None ['b']",)
    assert MEMORIES.size == before


async def test_the_runs_of_a_session_share_its_memory_and_others_do_not(mesh: Mesh) -> None:
    one, two = secrets.token_hex(8), secrets.token_hex(8)
    document = swapping()

    assert await swap(mesh, document, "session a 1", session=one) == ("None ['a']",)
    assert await swap(mesh, document, "session a 2", session=two) == ("None ['a']",)
    assert await swap(mesh, document, "session b 3", session=one) == ("None ['a', 'b']",)
    assert await swap(mesh, document, "session a 4", session=one) == ("1 ['a', 'b']",)


async def test_error_a_session_is_used_in_a_run_without_one(mesh: Mesh) -> None:
    result = await mesh.run(swapping(), input="session a 1").result()

    assert result.error is not None
    assert (result.error.reason, result.error.details["component"]) == ("no-session", "memory")
    assert 'session="..."' in result.error.message


async def test_error_a_memory_within_a_process_stores_nothing_permanently(mesh: Mesh) -> None:
    result = await mesh.run(swapping(), input="store a 1").result()

    assert result.error is not None
    assert result.error.reason == "scope-not-kept"
    assert "Use memory_store" in result.error.message


async def test_a_store_outlives_its_servers(tmp_path: Path) -> None:
    document = swapping("memory_store", file=str(tmp_path / "m.sqlite"))
    for spread, earlier in ((None, "None"), ("component", "embedded"), (None, "component")):
        async with Mesh(spread, nodes=[NODES]) as mesh:  # type: ignore[arg-type]
            value = spread or "embedded"
            assert await swap(mesh, document, f"store a {value}") == (f"{earlier} ['a']",)
            session = await swap(mesh, document, f"session b {value}", session="s")
            assert session == (f"{earlier} ['b']",)


@pytest.mark.conformance("CTRL-01")
async def test_a_helper_serves_several_invokers_and_each_reaches_its_own(mesh: Mesh) -> None:
    shared = helper("shared", "memory_internal", "memory", "first", "second")
    own = helper("own", "memory_internal", "memory", "third")
    nodes = [node(name, "swap", "chat") for name in ("first", "second", "third")]
    document = pipeline(chat(), *nodes, shared, own, response("first", "second", "third"))

    session = secrets.token_hex(8)

    await swap(mesh, document, "session @ 1", session=session)

    values = await swap(mesh, document, "session @ 2", session=session)
    assert sorted(values) == ["1 ['first', 'second']", "1 ['first', 'second']", "1 ['third']"]


@pytest.mark.conformance("CTRL-01")
async def test_a_component_has_lanes_and_is_a_helper_at_once(mesh: Mesh) -> None:
    loud: Component = {**node("loud", "loud", "chat"), "control": [{"classType": "agent", "from": "asker"}]}
    document = pipeline(chat(), loud, node("asker", "asker", "loud"), response("loud", "asker"))

    values = await swap(mesh, document, "a", "b")

    assert sorted(values) == ["agent LANE A", "agent LANE B", "lane A", "lane B"]


@pytest.mark.conformance("CTRL-05")
async def test_agents_nest_and_are_counted(mesh: Mesh) -> None:
    outer: Component = helper("outer", "nesting", "agent", "asker")
    inner: Component = helper("inner", "loud", "agent", "outer")
    document = pipeline(chat(), node("asker", "asker", "chat"), outer, inner, response("asker"))
    async with mesh.run(document, inputs=["a", "b"]) as run:
        updates = [update async for update in run.updates()]

    said = [update.value for update in updates if isinstance(update, OutputUpdate)]
    assert sorted(said) == ["[agent A]", "[agent B]"]
    calls = {update.component: update.calls for update in updates if isinstance(update, HelperUpdate)}
    assert calls == {"outer": 2, "inner": 2}


@pytest.mark.conformance("CTRL-10")
async def test_cancelling_the_run_cancels_its_agents(mesh: Mesh) -> None:
    document = pipeline(
        chat(), node("asker", "asker", "chat"), helper("sleeper", "sleeper", "agent", "asker"), response("asker")
    )
    async with mesh.channels().subscribe("mesh:ended") as ended, mesh.run(document, input="task") as run:
        async for update in run.updates():
            if isinstance(update, ThoughtUpdate):
                await run.cancel()
        message = await asyncio.wait_for(anext(ended), 30)

    assert message == "task"


async def test_a_session_that_makes_capacity_for_another_is_reported_to_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internal, "MEMORIES", Guarded(Entries(max_sessions=1)))
    logged: list[list[str]] = []
    async with Mesh(nodes=[NODES]) as mesh:
        for session in ("first", "second", "first"):
            async with mesh.run(swapping(), input="session a 1", session=session) as run:
                lines = [update.message async for update in run.updates() if isinstance(update, LogUpdate)]
            logged.append([line for line in lines if "session" in line])

    assert logged[0] == []
    assert "least recently used session was removed, with 1 values" in logged[1][0]
    assert any("earlier values of this session were removed" in line for line in logged[2])


async def test_traces_show_values_and_hide_secrets(mesh: Mesh) -> None:
    document = swapping()
    document["components"].append(node("other", "keyed", "chat", key="s3cret-value"))
    async with mesh.run(document, input="run a s3cret-value", trace="full") as run:
        traces = [
            update.value
            async for update in run.updates()
            if isinstance(update, TraceUpdate) and ":memory" in update.edge
        ]

    kept = [trace["request"]["entry"] for trace in traces if "entry" in trace.get("request", {})]
    assert [entry["key"] for entry in kept] == ["a"]
    assert "s3cret-value" not in str(traces)
    assert [trace for trace in traces if "entries" in trace.get("response", {})] != []


async def test_error_a_database_that_is_not_there_is_reported_without_its_password(mesh: Mesh) -> None:
    document = swapping("memory_store", url="${MEMORY_URL}")
    url = "postgresql://user:s3cret-pass@127.0.0.1:1/memories?connect_timeout=5"

    result = await mesh.run(document, input="store a 1", variables={"MEMORY_URL": url}).result()

    assert result.error is not None
    assert (result.error.reason, result.error.details["component"]) == ("database-unusable", "memory")
    assert "s3cret-pass" not in str(result.error)


@pytest.mark.conformance("CTRL-01")
async def test_error_all_faults_of_helpers_are_reported_at_once() -> None:
    document = pipeline(
        chat(),
        node("swap", "swap", "chat"),
        node("swap2", "swap", "chat"),
        node("asker", "asker", "chat"),
        helper("m1", "memory_internal", "memory", "swap"),
        helper("m2", "memory_internal", "memory", "swap"),
        helper("m3", "memory_internal", "agent", "other"),
        node("other", "swap", "chat"),
        helper("one", "nesting", "agent", "two"),
        helper("two", "nesting", "agent", "one", "asker"),
        response("swap", "swap2", "asker", "other"),
    )
    async with Mesh(nodes=[NODES]) as mesh:
        with pytest.raises(PipelineInvalid) as caught:
            await mesh.run(document, input="x").result()

    faults = {(fault.reason, fault.pointer) for fault in caught.value.faults}
    assert {
        ("surplus-helper", "/components/5/control/0"),
        ("incapable-helper", "/components/6/control/0/classType"),
        ("missing-helper", "/components/2"),
    } <= faults
    assert "cycle" in {reason for reason, _ in faults}
