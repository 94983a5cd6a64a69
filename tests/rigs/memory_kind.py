"""A kind of helper as an author of Lanemesh adds one: this module, and one row of the table. It is a memory of text under keys."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any

from lanemesh.control.ends import Answer, HelperEnds, HelperLink
from lanemesh.control.instance import HelperInstance
from lanemesh.control.traced import flat
from lanemesh.helper_kinds import HelperKind, HelperMethod
from lanemesh.v1 import control_pb2

MEMORY = HelperKind(
    name="memory",
    service="lanemesh.v1.MemoryService",
    module=__name__,
    noun="memory",
    several='helpers("memory")',
    methods={
        "put": HelperMethod("`def put(self, context, key, value)`", 3),
        "entries": HelperMethod("`async def entries(self, context)` with `yield`", 1, streams=True),
    },
)


class MemoryClient:
    """What a node has of one memory."""

    def __init__(self, link: HelperLink) -> None:
        self._link = link

    async def put(self, key: str, value: str) -> bool:
        """Keeps a value. Returns whether there was one under the key."""
        entry = control_pb2.MemoryEntry(key=key, value_json=value)
        response = await self._link.call("Put", control_pb2.MemoryServicePutRequest(entry=entry))
        replaced: bool = response.replaced
        return replaced

    async def entries(self) -> Sequence[tuple[str, str]]:
        """All keys and values."""
        found = self._link.stream("List", control_pb2.MemoryServiceListRequest())
        return [(piece.entry.key, piece.entry.value_json) async for piece in found]

    async def search(self) -> list[Any]:
        """Calls a method of the service that this kind does not answer."""
        found = self._link.stream("Search", control_pb2.MemoryServiceSearchRequest())
        return [piece async for piece in found]

    async def reach(self) -> None:
        """Makes sure that the memory can be called."""
        await self._link.reach()


async def _put(helper: HelperInstance, request: control_pb2.MemoryServicePutRequest) -> Any:
    entry = request.entry
    return await helper.call("memory", "put", lambda: (helper.context, entry.key, entry.value_json), _replaced)


def _replaced(replaced: object) -> control_pb2.MemoryServicePutResponse:
    if not isinstance(replaced, bool):
        raise TypeError("a bool")
    return control_pb2.MemoryServicePutResponse(replaced=replaced)


def _list(
    helper: HelperInstance, request: control_pb2.MemoryServiceListRequest
) -> AsyncGenerator[control_pb2.MemoryServiceListResponse, None]:
    return helper.stream("memory", "entries", lambda: (helper.context,), _entry)


def _entry(pair: Iterable[str]) -> control_pb2.MemoryServiceListResponse:
    key, value = pair
    return control_pb2.MemoryServiceListResponse(entry=control_pb2.MemoryEntry(key=key, value_json=value))


class _LastTrace:
    """The response of a method that has one."""

    def add(self, piece: Any) -> dict[str, Any]:
        """The response."""
        return flat(piece)

    def rest(self) -> None:
        """There is no response."""


ENDS = HelperEnds(answers={"Put": Answer(_put, _LastTrace), "List": Answer(_list)}, client=MemoryClient)
