"""Iterators that read an inbox: over the values or the items of its ports.

A `__anext__` that is cancelled, as by a timeout, takes no item, and the next call continues. A plain generator would end instead.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterable
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import ref

from lanemesh._aio.user_errors import Withdrawn
from lanemesh.items import ABSENT, Item
from lanemesh.lanes.inbox.port import Port

if TYPE_CHECKING:
    from lanemesh.lanes.inbox.inbox import Inbox

T = TypeVar("T")

Renew = Callable[[], None]
"""A generator calls it before it ends with an error. It sets another generator, which continues to read."""

OnTaken = Callable[[str, Item], Awaitable[None]]
"""Called for each taken item before the stream returns it, with the port and the item."""

Capacity = Callable[[], Awaitable[tuple[int, int]]]
"""Waits until items may be taken. Returns how many, and how many bytes of them, as lanes count them; both are at least 1."""


class Stream(AsyncIterator[T], Generic[T]):
    """An asynchronous iterator that continues after a cancelled `__anext__`.

    It returns the `__anext__` of a generator, which costs less than a method in Python. When the generator has ended with an
    error, the stream replaces it.
    """

    __slots__ = ("__anext__", "__weakref__", "_generator", "_make")

    def __init__(self, make: Callable[[Renew], AsyncGenerator[T, None]]) -> None:
        """`make` creates a generator that reads from the position where the previous generator ended."""
        self._make = make
        self._begin(make(_renewal(self)))

    if TYPE_CHECKING:

        async def __anext__(self) -> T:
            """The next element. Raises StopAsyncIteration at the end."""

    def __aiter__(self) -> Stream[T]:
        return self

    async def aclose(self) -> None:
        """Ends the stream. Waiting items stay in the inbox."""
        await self._generator.aclose()
        self._begin(_nothing())

    def _begin(self, generator: AsyncGenerator[T, None]) -> None:
        self._generator = generator
        self.__anext__ = generator.__anext__  # type: ignore[method-assign]


def _renewal(stream: Stream[Any]) -> Renew:
    """A function that makes a stream continue with a new generator. It does not keep the stream alive."""
    found = ref(stream)

    def renew() -> None:
        stream = found()
        if stream is not None:
            stream._begin(stream._make(renew))

    return renew


async def _nothing() -> AsyncGenerator[Any, None]:
    return
    yield


def value_stream(
    inbox: Inbox,
    port: Port,
    *,
    raising: bool = True,
    check: Callable[[Any, str], Any] | None = None,
    where: str = "",
) -> Stream[Any]:
    """The values of one port, in arrival order. `check`, if given, validates each value, and names `where` in its errors."""

    return Stream(lambda renew: _values(inbox, port, raising, check, where, renew))


async def _values(
    inbox: Inbox, port: Port, raising: bool, check: Callable[[Any, str], Any] | None, where: str, renew: Renew
) -> AsyncGenerator[Any, None]:
    """The generator behind `value_stream`. No closure: access to its variables would cost more."""
    entries = port.entries
    try:
        while True:
            while entries:
                _, edge, value, size, _ = entries.popleft()
                edge.taken += 1  # `took`, inlined: this is the innermost loop of every node
                edge.buffered_bytes -= size
                if edge.taken >= edge.wake_at:
                    edge.notify()
                if value is not ABSENT:
                    yield value if check is None else check(value, where)
            if raising or port.failure is not None:
                port.raise_fault()
            if port.ended:
                raise_if_withdrawn((port,))
                return
            await inbox.turn((port,))
    except BaseException:
        renew()
        raise


def item_stream(
    inbox: Inbox,
    names: Iterable[str] | None = None,
    *,
    raising: bool = True,
    on_taken: OnTaken | None = None,
) -> Stream[tuple[str, Item]]:
    """Pairs of port and item, in arrival order across these ports, by default across all."""
    ports = list(inbox.ports.values()) if names is None else [inbox.port(name) for name in names]
    chosen = None if names is None else [port.name for port in ports]
    pending: list[tuple[str, Item]] = []
    """An item that was taken and not returned, because `on_taken` was cancelled."""

    async def read(renew: Renew) -> AsyncGenerator[tuple[str, Item], None]:
        try:
            while pending:
                yield pending.pop()
            while True:
                port = inbox.first_waiting(chosen)
                if port is not None:
                    taken = port.name, port.take()
                    if on_taken is not None:
                        pending.append(taken)
                        await on_taken(*taken)
                        pending.clear()
                    yield taken
                    continue
                if _have_ended(ports, raising=raising):
                    return
                await inbox.turn(ports)
        except BaseException:
            renew()
            raise

    return Stream(read)


def _have_ended(ports: list[Port], *, raising: bool) -> bool:
    """Whether these ports, at which nothing waits, have ended. Raises the fault of one that failed, and with `raising` those of
    their lanes."""
    for port in ports:
        if raising or port.failure is not None:
            port.raise_fault()
    if not all(port.ended for port in ports):
        return False
    raise_if_withdrawn(ports)
    return True


def batch_stream(
    inbox: Inbox,
    capacity: Capacity,
    *,
    texts: Collection[str] = (),
    raising: bool = True,
    on_taken: OnTaken | None = None,
) -> Stream[tuple[str, Item | list[str]]]:
    """Pairs of port and what waits there, in arrival order across all ports: an item, or at the ports of `texts` a list of short
    texts without envelopes that arrived one after the other.

    `capacity` is awaited before items are taken. It returns the numbers of items and of bytes that a list may have at most.
    """
    ports = list(inbox.ports.values())
    many = frozenset(texts) if on_taken is None else frozenset()
    pending: list[tuple[str, Item]] = []
    """An item that was taken and not returned, because `on_taken` was cancelled."""

    async def read(renew: Renew) -> AsyncGenerator[tuple[str, Item | list[str]], None]:
        try:
            while pending:
                yield pending.pop()
            while True:
                if inbox.first_waiting() is None:
                    if _have_ended(ports, raising=raising):
                        return
                    await inbox.turn(ports)
                    continue
                most, most_bytes = await capacity()
                port = inbox.first_waiting()
                if port is None:  # its edge was stopped meanwhile
                    continue
                if port.name in many:
                    before = min(
                        (other.entries[0][0] for other in ports if other is not port and other.entries), default=inf
                    )
                    taken = port.take_texts(most, most_bytes, before)
                    if taken:
                        yield port.name, taken
                        continue
                one = port.name, port.take()
                if on_taken is not None:
                    pending.append(one)
                    await on_taken(*one)
                    pending.clear()
                yield one
        except BaseException:
            renew()
            raise

    return Stream(read)


def picked_stream(items: Stream[tuple[str, Item]], pick: Callable[[str, Item], T]) -> Stream[T]:
    """The results of `pick` for the items of a stream. Items without a value are left out."""

    async def read(renew: Renew) -> AsyncGenerator[T, None]:
        try:
            async for port, item in items:
                if item.value is not ABSENT:
                    yield pick(port, item)
        except BaseException:
            renew()
            raise

    return Stream(read)


def raise_if_withdrawn(ports: Iterable[Port]) -> None:
    """Raises `Withdrawn` if one of these ports ended only because the node was closed."""
    if any(port.withdrawn for port in ports):
        raise Withdrawn("every lane of this node was stopped, so its inputs were closed before their ends")
