"""Memories as helpers: the client for a node's memory, and the answers of a node that offers memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from lanemesh.control.ends import Answer, HelperEnds, HelperLink
from lanemesh.control.instance import HelperInstance
from lanemesh.control.traced import flat
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.memory import FOUND, LISTED, MemoryEntry, MemoryQuery, MemoryScope, MemorySpace
from lanemesh.memory_codec import (
    decode_clear,
    decode_entry,
    decode_get,
    decode_list,
    decode_put,
    decode_search,
    encode_clear,
    encode_entry,
    encode_get,
    encode_list,
    encode_put,
    encode_search,
)
from lanemesh.v1 import control_pb2

R = TypeVar("R")
P = TypeVar("P")

MAX_TRACED_CHARACTERS = 1024 * 1024
"""Most characters of keys and values of a list that are reported: 1 Mi."""


class LinkedMemory:
    """A space of a memory at the other end of a link."""

    def __init__(self, link: HelperLink, space: MemorySpace | None = None) -> None:
        """`space`: where its entries are; by default the default space of the run."""
        self._link = link
        self._space = space or MemorySpace()

    def space(self, scope: str = MemoryScope.RUN, *, namespace: str = "") -> LinkedMemory:
        """The same memory with another space. Raises ValueError if there is no such scope, or the namespace is not allowed."""
        return LinkedMemory(self._link, MemorySpace(MemoryScope(scope), namespace))

    async def put(
        self, key: str, value: Any, *, text: str = "", ttl: float | None = None, embedding: Sequence[float] = ()
    ) -> bool:
        """Stores a value. Returns whether it replaced one."""
        entry = MemoryEntry(key, value, text, tuple(embedding))
        response = await self._link.call("Put", encode_put(self._space, entry, ttl))
        replaced: bool = response.replaced
        return replaced

    async def get(self, key: str) -> MemoryEntry | None:
        """The entry with a key; None if there is none."""
        response = await self._link.call("Get", encode_get(self._space, key))
        return self._entry(response.entry) if response.HasField("entry") else None

    def list(self, prefix: str = "", *, limit: int = LISTED) -> AsyncGenerator[MemoryEntry, None]:
        """The entries whose keys begin with a prefix, in the order of their keys."""
        return self._entries("List", encode_list(self._space, prefix, limit))

    def search(
        self,
        query: str = "",
        *,
        limit: int = FOUND,
        min_score: float = 0.0,
        embedding: Sequence[float] = (),
    ) -> AsyncGenerator[MemoryEntry, None]:
        """The entries that match a query, the best one first, each with its score."""
        wanted = MemoryQuery(query, tuple(embedding), limit, min_score)
        return self._entries("Search", encode_search(self._space, wanted))

    async def clear(self, prefix: str = "") -> int:
        """Removes the entries whose keys begin with a prefix. Returns their number."""
        response = await self._link.call("Clear", encode_clear(self._space, prefix))
        removed: int = response.removed
        return removed

    async def reach(self) -> None:
        """Checks that the memory can be called."""
        await self._link.reach()

    async def _entries(self, method: str, request: Any) -> AsyncGenerator[MemoryEntry, None]:
        async with aclosing(self._link.stream(method, request)) as pieces:
            async for piece in pieces:
                yield self._entry(piece.entry)

    def _entry(self, message: control_pb2.MemoryEntry) -> MemoryEntry:
        try:
            return decode_entry(message)
        except (TypeError, ValueError) as error:
            what = f"it returned an invalid entry: {error}"
            raise LanemeshError(self._link.connection.fault(Code.INTERNAL, "bad-result", what)) from None


def _decoded(helper: HelperInstance, request: Any, decode: Callable[[Any], R]) -> R:
    """The parts of a request. Raises LanemeshError if it is not valid, or its session is not that of the run."""
    name = f"{helper.context.component} ({helper.context.provider})"
    try:
        parts = decode(request)
        _check_session(helper, request.space)
    except (TypeError, ValueError) as error:
        message = f"{name} received an invalid request: {error}."
        raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-request", message=message)) from None
    return parts


def _check_session(helper: HelperInstance, space: control_pb2.MemorySpace) -> None:
    own, asked = helper.context.session, space.session_id
    if space.scope != control_pb2.MEMORY_SCOPE_SESSION:
        if asked:
            raise ValueError("a session is only for the scope session")
        return
    where = {"component": helper.context.component, "provider": helper.context.provider}
    if asked and asked != own:
        message = f"{where['component']} was asked for the memory of a session that is not the session of its run"
        raise LanemeshError(Fault(code=Code.PERMISSION_DENIED, reason="other-session", message=message, details=where))
    if not own:
        message = (
            f"{where['component']} was asked for the memory of a session, but the run has none. "
            'Start the run with one, as in client.run(..., session="..."), or use the scope run'
        )
        raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="no-session", message=message, details=where))


async def _put(
    helper: HelperInstance, request: control_pb2.MemoryServicePutRequest
) -> control_pb2.MemoryServicePutResponse:
    def arguments() -> tuple[Any, ...]:
        return helper.context, *_decoded(helper, request, decode_put)

    def encode(replaced: Any) -> control_pb2.MemoryServicePutResponse:
        if not isinstance(replaced, bool):
            raise TypeError("whether it replaced an entry, as a bool")
        return control_pb2.MemoryServicePutResponse(replaced=replaced)

    return await helper.call("memory", "put", arguments, encode)


async def _get(
    helper: HelperInstance, request: control_pb2.MemoryServiceGetRequest
) -> control_pb2.MemoryServiceGetResponse:
    def arguments() -> tuple[Any, ...]:
        return helper.context, *_decoded(helper, request, decode_get)

    def encode(entry: Any) -> control_pb2.MemoryServiceGetResponse:
        if entry is None:
            return control_pb2.MemoryServiceGetResponse()
        return control_pb2.MemoryServiceGetResponse(entry=_encoded(entry, "MemoryEntry or None"))

    return await helper.call("memory", "get", arguments, encode)


def _list(
    helper: HelperInstance, request: control_pb2.MemoryServiceListRequest
) -> AsyncGenerator[control_pb2.MemoryServiceListResponse, None]:
    def arguments() -> tuple[Any, ...]:
        return helper.context, *_decoded(helper, request, decode_list)

    def encode(entry: Any) -> control_pb2.MemoryServiceListResponse:
        return control_pb2.MemoryServiceListResponse(entry=_encoded(entry, "MemoryEntry"))

    return _at_most(request.limit or LISTED, helper.stream("memory", "list", arguments, encode))


def _search(
    helper: HelperInstance, request: control_pb2.MemoryServiceSearchRequest
) -> AsyncGenerator[control_pb2.MemoryServiceSearchResponse, None]:
    def arguments() -> tuple[Any, ...]:
        return helper.context, *_decoded(helper, request, decode_search)

    def encode(entry: Any) -> control_pb2.MemoryServiceSearchResponse:
        return control_pb2.MemoryServiceSearchResponse(entry=_encoded(entry, "MemoryEntry"))

    return _at_most(request.limit or FOUND, helper.stream("memory", "search", arguments, encode))


async def _clear(
    helper: HelperInstance, request: control_pb2.MemoryServiceClearRequest
) -> control_pb2.MemoryServiceClearResponse:
    def arguments() -> tuple[Any, ...]:
        return helper.context, *_decoded(helper, request, decode_clear)

    def encode(removed: Any) -> control_pb2.MemoryServiceClearResponse:
        if type(removed) is not int or removed < 0:
            raise TypeError("the number of removed entries, as an int")
        return control_pb2.MemoryServiceClearResponse(removed=removed)

    return await helper.call("memory", "clear", arguments, encode)


def _encoded(entry: Any, wanted: str) -> control_pb2.MemoryEntry:
    if not isinstance(entry, MemoryEntry):
        raise TypeError(wanted)
    message = encode_entry(entry)
    del message.embedding[:]
    return message


async def _at_most(limit: int, pieces: AsyncGenerator[P, None]) -> AsyncGenerator[P, None]:
    """The first `limit` pieces, which bounds a node that ignores its limit."""
    async with aclosing(pieces):
        number = 0
        async for piece in pieces:
            yield piece
            number += 1
            if number >= limit:
                return


class _ResponseTrace:
    """The response of a method that has one."""

    def add(self, piece: Any) -> dict[str, Any]:
        """The response."""
        return flat(piece)

    def rest(self) -> None:
        """There is no other response."""


class _EntriesTrace:
    """The entries of a list, up to 1 Mi characters of keys and values; the others are counted."""

    def __init__(self) -> None:
        self._entries: list[Any] = []
        self._characters = 0
        self._left_out = 0

    def add(self, piece: Any) -> None:
        """Adds an entry."""
        entry = piece.entry
        self._characters += len(entry.key) + len(entry.value_json) + len(entry.text)
        if self._characters > MAX_TRACED_CHARACTERS:
            self._left_out += 1
        else:
            self._entries.append(flat(entry))

    def rest(self) -> dict[str, Any]:
        """The entries."""
        left_out = {"left_out": self._left_out} if self._left_out else {}
        return {"entries": self._entries, **left_out}


ENDS = HelperEnds(
    answers={
        "Put": Answer(_put, _ResponseTrace),
        "Get": Answer(_get, _ResponseTrace),
        "List": Answer(_list, _EntriesTrace),
        "Search": Answer(_search, _EntriesTrace),
        "Clear": Answer(_clear, _ResponseTrace),
    },
    client=LinkedMemory,
)
