"""A memory as its invoker sees it: the same in this process and over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from lanemesh import Context, LanemeshError, MemoryEntry, MemoryQuery, MemoryScope, MemorySpace, Node
from lanemesh.control.instance import HelperInstance
from lanemesh.control.memory import LinkedMemory
from lanemesh.control.traced import TracedLink
from lanemesh.faults import Code
from lanemesh.helper_kinds import HELPER_KINDS
from lanemesh.v1 import control_pb2

from .conftest import Reach, helper_of, seen_by

WIRE: Any = control_pb2
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


class Shelf(Node):
    """A memory in a dict by spaces; the key "boom" breaks it, "hang" makes it wait, "odd" makes it return a 3."""

    offers: ClassVar = ("memory",)
    seen: Any
    spaces: dict[MemorySpace, dict[str, MemoryEntry]]

    async def put(self, context: Context, space: MemorySpace, entry: MemoryEntry, ttl: float | None) -> bool:
        self.seen.nodes.append((space, entry, ttl))
        entries = self.spaces.setdefault(space, {})
        replaced = entry.key in entries
        expires_at = NOW + timedelta(seconds=ttl) if ttl is not None else None
        entries[entry.key] = replace(entry, created_at=NOW, expires_at=expires_at)
        return replaced

    async def get(self, context: Context, space: MemorySpace, key: str) -> Any:
        match key:
            case "boom":
                raise ZeroDivisionError("the memory broke")
            case "odd":
                return 3
            case "hang":
                await self._hang()
        return self.spaces.get(space, {}).get(key)

    async def list(self, context: Context, space: MemorySpace, prefix: str, limit: int) -> AsyncIterator[Any]:
        self.seen.nodes.append((space, prefix, limit))
        try:
            for key, entry in sorted(self.spaces.get(space, {}).items()):
                if key.startswith(prefix):
                    yield entry
            if prefix == "hang":
                await self._hang()
            if prefix == "odd":
                yield "text"
        finally:
            self.seen.closed.set()

    async def search(self, context: Context, space: MemorySpace, query: MemoryQuery) -> AsyncIterator[MemoryEntry]:
        self.seen.nodes.append((space, query))
        for entry in self.spaces.get(space, {}).values():
            yield replace(entry, score=0.5)

    async def clear(self, context: Context, space: MemorySpace, prefix: str) -> int:
        entries = self.spaces.get(space, {})
        gone = [key for key in entries if key.startswith(prefix)]
        for key in gone:
            del entries[key]
        return len(gone)

    async def _hang(self) -> None:
        self.seen.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.seen.closed.set()


def shelf(session: str = "") -> HelperInstance:
    helper = helper_of(Shelf, "memory_1", spaces={})
    helper.context.session = session
    return helper


async def memory_of(reach: Reach, helper: HelperInstance, timeout: float | None = 30) -> LinkedMemory:
    return LinkedMemory(await reach.link("memory", helper, timeout))


async def test_happy_a_value_is_stored_replaced_found_and_removed(reach: Reach) -> None:
    helper = shelf()
    memory = await memory_of(reach, helper)
    await memory.reach()

    assert await memory.put("a/1", {"n": [1, None, "é"]}, text="one", ttl=1.5, embedding=[0.5, -1]) is False
    assert await memory.put("a/1", {"n": 2}, ttl=2) is True
    assert await memory.put("b", None) is False
    one = MemoryEntry("a/1", {"n": 2}, created_at=NOW, expires_at=NOW + timedelta(seconds=2))
    other = MemoryEntry("b", None, created_at=NOW)
    assert await memory.get("a/1") == one
    assert await memory.get("b") == other
    assert await memory.get("c") is None
    assert [entry async for entry in memory.list()] == [one, other]
    assert [entry async for entry in memory.list("a/")] == [one]
    assert [entry async for entry in memory.search("n", min_score=0.25)] == [
        replace(one, score=0.5),
        replace(other, score=0.5),
    ]
    assert await memory.clear("a/") == 1
    assert await memory.clear() == 1
    assert [entry async for entry in memory.list()] == []
    default = MemorySpace()
    assert seen_by(helper).nodes == [
        (default, MemoryEntry("a/1", {"n": [1, None, "é"]}, "one", (0.5, -1.0)), 1.5),
        (default, MemoryEntry("a/1", {"n": 2}), 2.0),
        (default, MemoryEntry("b", None), None),
        (default, "", 1000),
        (default, "a/", 1000),
        (default, MemoryQuery("n", min_score=0.25)),
        (default, "", 1000),
    ]
    assert (helper.activity.calls, helper.activity.active, helper.activity.failed) == (12, 0, 0)


async def test_spaces_are_separate(reach: Reach) -> None:
    memory = await memory_of(reach, shelf(session="s"))
    spaces = [memory.space(scope, namespace=name) for scope in MemoryScope for name in ("", "facts")]

    for number, space in enumerate(spaces):
        assert await space.put("k", number) is False

    assert [(await space.get("k")).value for space in spaces] == list(range(6))  # type: ignore[union-attr]


async def test_a_list_and_a_search_end_at_their_limits(reach: Reach) -> None:
    memory = await memory_of(reach, shelf())
    for number in range(12):
        await memory.put(f"k{number:02}", number)

    assert [entry.value async for entry in memory.list(limit=3)] == [0, 1, 2]
    assert len([entry async for entry in memory.search("k")]) == 10
    assert len([entry async for entry in memory.search("k", limit=11)]) == 11


async def test_the_largest_value_is_stored(reach: Reach) -> None:
    memory = await memory_of(reach, shelf())
    value = "é" * ((1024 * 1024 - 2) // 2)

    await memory.put("k" * 512, value, text=value)

    entry = await memory.get("k" * 512)
    assert entry is not None
    assert entry.value == value


@pytest.mark.parametrize(
    ("key", "value", "options", "why"),
    [
        ("", 1, {}, "1 to 512 characters, not 0"),
        ("k" * 513, 1, {}, "1 to 512 characters, not 513"),
        ("a\0b", 1, {}, "control character"),
        ("a\ud800", 1, {}, "not valid Unicode"),
        ("k", "x" * (1024 * 1024 - 1), {}, "1,048,577 bytes as JSON"),
        ("k", float("nan"), {}, "nan is not a JSON number"),
        ("k", "a\ud800", {}, "not valid Unicode"),
        ("k", object(), {}, "JSON"),
        ("k", 1, {"text": "x" * (1024 * 1024 + 1)}, "at most 1,048,576 bytes"),
        ("k", 1, {"ttl": 0}, "greater than 0"),
        ("k", 1, {"ttl": float("nan")}, "greater than 0"),
        ("k", 1, {"ttl": 1e12}, "at most ten years"),
        ("k", 1, {"embedding": [float("inf")]}, "NaN or infinity"),
        ("k", 1, {"embedding": [0.0] * 16_385}, "at most 16,384"),
    ],
)
async def test_error_a_value_beyond_the_limits_is_not_sent(
    reach: Reach, key: str, value: Any, options: dict[str, Any], why: str
) -> None:
    helper = shelf()
    memory = await memory_of(reach, helper)

    with pytest.raises((TypeError, ValueError), match=why):
        await memory.put(key, value, **options)

    assert seen_by(helper).nodes == []


async def test_error_limits_of_the_other_methods(reach: Reach) -> None:
    memory = await memory_of(reach, shelf())

    with pytest.raises(ValueError, match="1 to 10,000 entries, not 10,001"):
        memory.list(limit=10_001)
    with pytest.raises(ValueError, match="1 to 1,000 entries, not 0"):
        memory.search("a", limit=0)
    with pytest.raises(ValueError, match="at most 10,000 characters"):
        memory.search("a" * 10_001)
    with pytest.raises(ValueError, match="from 0 to 1"):
        memory.search("a", min_score=float("nan"))
    with pytest.raises(ValueError, match="512 characters"):
        await memory.get("")
    with pytest.raises(ValueError, match="512 characters"):
        await memory.clear("k" * 513)
    with pytest.raises(ValueError, match="'world' is not a valid MemoryScope"):
        memory.space("world")
    with pytest.raises(ValueError, match="1 to 128 characters"):
        memory.space(namespace="n" * 129)


RUN_SPACE = {"scope": control_pb2.MEMORY_SCOPE_RUN}


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("Put", WIRE.MemoryServicePutRequest(entry={"key": "k", "value_json": "1"})),
        ("Put", WIRE.MemoryServicePutRequest(space=RUN_SPACE, entry={"key": "k", "value_json": "["})),
        ("Put", WIRE.MemoryServicePutRequest(space=RUN_SPACE, entry={"key": "k", "value_json": "[" * 100_000})),
        ("Put", WIRE.MemoryServicePutRequest(space=RUN_SPACE, entry={"key": "k"})),
        ("Put", WIRE.MemoryServicePutRequest(space=RUN_SPACE, entry={"value_json": "1"})),
        (
            "Put",
            WIRE.MemoryServicePutRequest(
                space=RUN_SPACE, entry={"key": "k", "value_json": '"' + "x" * (1024 * 1024) + '"'}
            ),
        ),
        (
            "Put",
            WIRE.MemoryServicePutRequest(space=RUN_SPACE, entry={"key": "k", "value_json": "1"}, ttl={"seconds": -1}),
        ),
        ("Get", WIRE.MemoryServiceGetRequest(space=RUN_SPACE, key="k" * 513)),
        ("Get", WIRE.MemoryServiceGetRequest(space={**RUN_SPACE, "session_id": "s"}, key="k")),
        ("Get", WIRE.MemoryServiceGetRequest(space={**RUN_SPACE, "namespace": "a\nb"}, key="k")),
        ("List", WIRE.MemoryServiceListRequest(space=RUN_SPACE, limit=10_001)),
        ("Search", WIRE.MemoryServiceSearchRequest(space=RUN_SPACE, query="a" * 10_001)),
        ("Search", WIRE.MemoryServiceSearchRequest(space=RUN_SPACE, embedding=[float("nan")])),
        ("Search", WIRE.MemoryServiceSearchRequest(space=RUN_SPACE, min_score=2)),
        ("Clear", WIRE.MemoryServiceClearRequest(space=RUN_SPACE, key_prefix="\x7f")),
    ],
)
async def test_error_a_request_of_others_that_is_not_valid_is_refused(reach: Reach, method: str, request_: Any) -> None:
    link = await reach.link("memory", shelf())
    streams = method in ("List", "Search")

    with pytest.raises(LanemeshError, match=r"memory_1 \(shelf\) received an invalid request") as raised:
        await (anext(link.stream(method, request_)) if streams else link.call(method, request_))

    assert (raised.value.fault.code, raised.value.fault.reason) == (Code.INVALID_ARGUMENT, "bad-request")


async def test_error_a_session_of_another_run_is_refused(reach: Reach) -> None:
    link = await reach.link("memory", shelf(session="mine"))
    space = {"scope": control_pb2.MEMORY_SCOPE_SESSION, "session_id": "yours"}

    with pytest.raises(LanemeshError, match="not the session of its run") as raised:
        await link.call("Get", WIRE.MemoryServiceGetRequest(space=space, key="k"))

    assert (raised.value.fault.code, raised.value.fault.reason) == (Code.PERMISSION_DENIED, "other-session")
    mine = {**space, "session_id": "mine"}
    assert not (await link.call("Get", WIRE.MemoryServiceGetRequest(space=mine, key="k"))).HasField("entry")


async def test_error_a_run_without_a_session(reach: Reach) -> None:
    memory = (await memory_of(reach, shelf())).space("session")

    with pytest.raises(LanemeshError, match=r'memory_1 .* the run has none.*session="') as raised:
        await memory.put("k", 1)

    assert raised.value.fault.reason == "no-session"


async def test_error_of_the_memory_arrives_whole(reach: Reach) -> None:
    helper = shelf()
    memory = await memory_of(reach, helper)

    with pytest.raises(LanemeshError, match="ZeroDivisionError: the memory broke") as caught:
        await memory.get("boom")

    assert caught.value.fault.details["component"] == "memory_1"
    assert helper.activity.failed == 1


async def test_error_a_node_that_returns_or_yields_something_else(reach: Reach) -> None:
    memory = await memory_of(reach, shelf())

    with pytest.raises(LanemeshError, match=r"memory_1 \(shelf\): get returned 3; return MemoryEntry or None"):
        await memory.get("odd")
    with pytest.raises(LanemeshError, match=r"memory_1 \(shelf\): list yielded 'text'; yield MemoryEntry"):
        [entry async for entry in memory.list("odd")]


async def test_error_a_deadline_names_helper_and_invoker_and_cancels_the_helper(reach: Reach) -> None:
    helper = shelf()
    memory = await memory_of(reach, helper, timeout=0.2)

    with pytest.raises(LanemeshError, match=r"agent_1 called the memory helper memory_1.* did not end within 0.2 s"):
        await memory.get("hang")

    await asyncio.wait_for(seen_by(helper).closed.wait(), 5)


@pytest.mark.conformance("CTRL-10")
@pytest.mark.parametrize("method", ["get", "list"])
async def test_shutdown_cancelling_the_invoker_cancels_the_call_at_the_helper(reach: Reach, method: str) -> None:
    helper = shelf()
    memory = await memory_of(reach, helper)

    async def call() -> None:
        if method == "get":
            await memory.get("hang")
        else:
            [entry async for entry in memory.list("hang")]

    task = asyncio.create_task(call())
    await asyncio.wait_for(seen_by(helper).begun.wait(), 5)
    task.cancel()

    await asyncio.wait_for(seen_by(helper).closed.wait(), 5)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_shutdown_leaving_a_list_closes_it_at_the_helper(reach: Reach) -> None:
    helper = shelf()
    memory = await memory_of(reach, helper)
    await memory.put("a", 1)
    await memory.put("b", 1)

    async with aclosing(memory.list()) as entries:
        assert (await anext(entries)).key == "a"

    await asyncio.wait_for(seen_by(helper).closed.wait(), 5)


async def test_requests_and_answers_are_reported(reach: Reach) -> None:
    said: list[str] = []
    kind = HELPER_KINDS["memory"]
    memory = LinkedMemory(TracedLink(kind, await reach.link("memory", shelf(session="s3cret")), said.append))

    await memory.space("session").put("k", [1])
    [entry async for entry in memory.space("session").list()]
    await memory.get("k")

    assert said == [
        '{"request": {"space": {"scope": "MEMORY_SCOPE_SESSION"}, "entry": {"key": "k", "value_json": "[1]"}}}',
        '{"response": {}}',
        '{"request": {"space": {"scope": "MEMORY_SCOPE_SESSION"}, "limit": 1000}}',
        '{"response": {"entries": [{"key": "k", "value_json": "[1]", "created_at": "2026-01-02T03:04:05.678901Z"}]}}',
        '{"request": {"space": {"scope": "MEMORY_SCOPE_RUN"}, "key": "k"}}',
        '{"response": {}}',
    ]


def test_a_port_may_have_the_name_of_a_method_of_memories() -> None:
    class Finder(Node):
        from lanemesh import In, Out

        search: In[str]
        list: Out[str]

        async def process(self, context: Context) -> dict[str, str]:
            return {"list": self.search}

    assert list(Finder.inputs_) == ["search"]


def test_error_a_put_of_the_wrong_form_is_refused_when_its_class_is_defined() -> None:
    with pytest.raises(
        LanemeshError, match=r"has a `put` that takes \(self, key\); write `async def put\(self, context"
    ):
        type("Wrong", (Node,), {"offers": ("memory",), "put": lambda self, key: None})
