"""A memory as tools for a model."""

from __future__ import annotations

import json
import secrets
from typing import Any

from lanemesh import Context, MemorySpace, ToolCall, ToolResult
from lanemesh_services.memory.internal import MemoryInternal


async def _no_report(update: object) -> None:
    pass


def memory(session: str = "") -> tuple[MemoryInternal, Context]:
    node = MemoryInternal()
    node.config = node.Config.model_validate({})
    run_id = f"run-{secrets.token_hex(4)}"
    context = Context(run_id=run_id, component="m", provider="memory_internal", report=_no_report, session=session)
    return node, context


async def call(node: MemoryInternal, context: Context, name: str, **arguments: Any) -> ToolResult:
    events = [event async for event in node.call_tool(context, ToolCall("c", name, json.dumps(arguments)))]
    assert isinstance(events[-1], ToolResult)
    return events[-1]


async def test_happy_a_model_stores_gets_and_searches() -> None:
    node, context = memory()

    assert (await call(node, context, "memory_put", key="a", value={"n": 1})).value == {"key": "a", "replaced": False}
    assert (await call(node, context, "memory_put", key="a", value="rain")).value == {"key": "a", "replaced": True}
    assert (await call(node, context, "memory_get", key="a")).value == {"key": "a", "found": True, "value": "rain"}
    assert (await call(node, context, "memory_get", key="b")).value == {"key": "b", "found": False, "value": None}
    found = (await call(node, context, "memory_search", query="rain today")).value
    assert found == [{"key": "a", "value": "rain", "score": 0.5}]
    await node.finalize(context)


async def test_happy_the_tools_describe_themselves() -> None:
    node, context = memory()

    specs = {spec.name: spec for spec in await node.list_tools(context)}

    assert list(specs) == ["memory_put", "memory_get", "memory_search"]
    assert set(specs["memory_put"].parameters["properties"]) == {"key", "value"}
    assert specs["memory_search"].parameters["required"] == ("query",)


async def test_a_long_value_is_cut_in_the_result_of_a_search_alone() -> None:
    node, context = memory()
    value = "rain " * 10_000
    await call(node, context, "memory_put", key="long", value=value)

    (found,) = (await call(node, context, "memory_search", query="rain")).value

    assert found["beginning"] == value[:4_000]
    assert (await call(node, context, "memory_get", key="long")).value["value"] == value
    await node.finalize(context)


async def test_the_tools_of_the_runs_of_a_session_share_its_memory() -> None:
    session = secrets.token_hex(8)
    node, context = memory(session)
    await call(node, context, "memory_put", key="a", value=1)
    await node.finalize(context)
    other, later = memory(session)

    assert (await call(other, later, "memory_get", key="a")).value["found"]
    assert await other.get(later, MemorySpace("session"), "a") is None  # type: ignore[arg-type]
    stranger, elsewhere = memory()
    assert not (await call(stranger, elsewhere, "memory_get", key="a")).value["found"]


async def test_error_arguments_that_are_not_allowed_are_results_that_a_model_can_read() -> None:
    node, context = memory()
    calls: list[tuple[str, dict[str, Any]]] = [
        ("memory_put", {"key": "", "value": 1}),
        ("memory_put", {"key": "a\0", "value": 1}),
        ("memory_put", {"key": "a"}),
        ("memory_put", {"key": "a", "value": "x" * (1024 * 1024)}),
        ("memory_put", {"key": "a", "value": float("nan")}),
        ("memory_put", {"key": "a", "value": "\ud800"}),
        ("memory_put", {"key": "a", "value": 2**70}),
        ("memory_get", {"key": "k" * 513}),
        ("memory_search", {"query": "a", "limit": 51}),
        ("memory_search", {"query": "a" * 10_001}),
        ("memory_search", {"query": "a", "scope": "store"}),
    ]
    for name, arguments in calls:
        result = await call(node, context, name, **arguments)
        assert result.is_error, (name, arguments)
        assert result.value["reason"] == "bad-arguments", result.content
