"""Views of a run: its text, values, outputs, updates, tools and nodes, each an iterator and an awaitable."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from lanemesh.client.fanout import Fanout, UpdateQueue, Wanted
from lanemesh.client.update_conversion import from_entry, from_wire, outputs_of
from lanemesh.client.updates import NodeUpdate, OutputUpdate, ToolUpdate, Update
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.text_outputs import Entry, TextOutputs

T = TypeVar("T")
All = TypeVar("All")

MAX_JSON_CHARACTERS = 16 * 1024 * 1024
"""Most characters of JSON texts during their assembly from pieces."""

_abandoning: set[asyncio.Task[None]] = set()
"""The closing tasks of views that were dropped without `aclose`; each is removed at its end."""


class ViewSource(Protocol):
    """The run that a view reads."""

    async def open_updates(self) -> Fanout:
        """The reader of the run's updates; starts the run if necessary."""

    async def close_updates(self, fanout: Fanout) -> None:
        """A view was closed."""

    def raise_unless_completed(self) -> None:
        """Raises RunFailed if the run failed or was cancelled."""


class View(Generic[T, All]):
    """A view of a run, from the first read on: iterate over it, or await it for all values.

    At most 256 updates or 1 MiB wait in a view; then the run waits. A cancelled wait loses nothing. Close a view that is left early
    with `aclose`, or leave the run's block.
    """

    def __init__(
        self,
        source: ViewSource,
        wanted: Wanted,
        read: Callable[[Entry], Iterable[T]],
        whole: Callable[[list[T]], All],
        *,
        raises: bool = True,
    ) -> None:
        """A view of the wanted updates.

        Args:
            read: returns the values of one entry.
            whole: combines all values into the result of `await`.
            raises: whether the view of a failed or cancelled run ends with RunFailed.
        """
        self._source = source
        self._wanted = wanted
        self._read = read
        self._whole = whole
        self._raises = raises
        self._fanout: Fanout | None = None
        self._queue: UpdateQueue | None = None
        self._ready: Iterator[T] = iter(())
        self._closed = False

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        for value in self._ready:
            return value
        while not self._closed:
            await self._advance()
            for value in self._ready:
                return value
        raise StopAsyncIteration

    def __await__(self) -> Generator[Any, None, All]:
        return self.all().__await__()

    async def all(self) -> All:
        """Reads to the run's end. Returns everything at once; raises as iterating does."""
        try:
            return self._whole([value async for value in self])
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Closes the view. Closing the only view of a run that is not in an `async with` block cancels the run."""
        if self._closed:
            return
        self._closed = True
        self._ready = iter(())
        if self._fanout is not None and self._queue is not None:
            self._fanout.release(self._queue)
            await self._source.close_updates(self._fanout)

    async def _advance(self) -> None:
        if self._fanout is None or self._queue is None:
            self._fanout = await self._source.open_updates()
            self._queue = self._fanout.open(self._wanted)
        try:
            entry = await self._fanout.next(self._queue)
        except Exception:
            await self.aclose()
            raise
        if entry is not None:
            self._ready = iter(self._read(entry))
            return
        await self.aclose()
        if self._raises:
            self._source.raise_unless_completed()

    def __del__(self) -> None:
        if self._closed or self._fanout is None or self._queue is None:
            return
        self._fanout.release(self._queue)
        try:
            task = asyncio.get_running_loop().create_task(self._source.close_updates(self._fanout))
        except RuntimeError:  # no loop runs: the run ended with it
            return
        _abandoning.add(task)
        task.add_done_callback(_abandoning.discard)


def updates(source: ViewSource) -> View[Update, list[Update]]:
    """Every update of a supported kind."""
    return View(source, lambda entry: True, from_entry, list, raises=False)


def outputs(source: ViewSource, components: Sequence[str]) -> View[OutputUpdate, list[OutputUpdate]]:
    """The outputs, each with its component, lane, group and value."""
    return View(source, _of_targets(components), _output, list)


def values(source: ViewSource, components: Sequence[str]) -> View[Any, list[Any]]:
    """The values of the outputs."""

    def read(entry: Entry) -> Sequence[Any]:
        return entry.texts if isinstance(entry, TextOutputs) else [one.value for one in _output(entry)]

    return View(source, _of_targets(components), read, list)


def text(source: ViewSource, components: Sequence[str]) -> View[str, str]:
    """The text of text and answers outputs, piece by piece; awaited: as one text."""

    def read(entry: Entry) -> Sequence[str]:
        if isinstance(entry, TextOutputs):
            return entry.texts if all(entry.texts) else [piece for piece in entry.texts if piece]
        return [piece for one in _output(entry) if (piece := text_of(one))]

    return View(source, _of_targets(components), read, "".join)


def json_values(source: ViewSource, model: Any, components: Sequence[str]) -> View[Any, Any]:
    """The JSON values of the outputs, validated by `model` if it is not None; awaited: the only one."""
    reader = JsonReader(model)
    return View(
        source, _of_targets(components), lambda entry: (v for one in _output(entry) for v in reader.read(one)), _only
    )


def tools(source: ViewSource, components: Sequence[str]) -> View[ToolUpdate, list[ToolUpdate]]:
    """The thoughts, calls, progress and results of agents."""

    def wanted(entry: Entry) -> bool:
        if isinstance(entry, TextOutputs):
            return False
        return entry.WhichOneof("kind") == "tool" and (not components or entry.tool.component in components)

    return View(source, wanted, _of_kind(ToolUpdate), list)


def nodes(source: ViewSource, components: Sequence[str]) -> View[NodeUpdate, list[NodeUpdate]]:
    """The states of nodes as they change."""

    def wanted(entry: Entry) -> bool:
        if isinstance(entry, TextOutputs):
            return False
        return entry.WhichOneof("kind") == "node" and (not components or entry.node.component in components)

    return View(source, wanted, _of_kind(NodeUpdate), list)


def text_of(output: OutputUpdate) -> str:
    """The text of an output; empty if it has another kind of value."""
    if isinstance(output.value, str):
        return output.value if output.lane == "text" else ""
    return output.value.text or "" if output.lane == "answers" else ""


class JsonReader:
    """Reads JSON values from outputs: data, tags and structured answers directly; texts are parsed, and pieces assembled."""

    def __init__(self, model: Any) -> None:
        """`model` validates each value: a pydantic model, or any type that pydantic knows; None: any JSON."""
        self._validate: Callable[[Any], Any] = _unchecked
        if model is not None:
            from pydantic import TypeAdapter

            self._validate = TypeAdapter(model).validate_python
        self._pieces: dict[tuple[str, str], list[str]] = {}
        self._characters = 0

    def read(self, output: OutputUpdate) -> list[Any]:
        """The values that this output completes.

        Raises:
            LanemeshError: a text is not JSON, or longer than 16 Mi characters.
            pydantic.ValidationError: the model rejects a value.
        """
        if output.lane in ("data", "tags"):
            return [self._validate(output.value)]
        if output.lane == "answers" and output.value.data is not None:
            self._take(output)
            return [self._validate(output.value.data)]
        if output.lane not in ("answers", "text"):
            return []
        piece = text_of(output)
        self._pieces.setdefault(self._key(output), []).append(piece)
        self._characters += len(piece)
        if self._characters > MAX_JSON_CHARACTERS:
            raise _not_json(output, f"is longer than {MAX_JSON_CHARACTERS:,} characters")
        if output.group is not None and not output.group.last:
            return []
        whole = self._take(output)
        if not whole.strip():
            return []
        try:
            return [self._validate(json.loads(whole))]
        except (ValueError, RecursionError) as error:
            if isinstance(error, json.JSONDecodeError | RecursionError):
                raise _not_json(output, f"is not JSON ({error}): {whole:.80}") from None
            raise

    def _take(self, output: OutputUpdate) -> str:
        whole = "".join(self._pieces.pop(self._key(output), ()))
        self._characters -= len(whole)
        return whole

    @staticmethod
    def _key(output: OutputUpdate) -> tuple[str, str]:
        return output.component, output.group.id if output.group is not None else ""


def _unchecked(value: Any) -> Any:
    return value


def _not_json(output: OutputUpdate, why: str) -> LanemeshError:
    message = f"the output of {output.component} {why}. Read it with `text()`, or give the model a JSON schema"
    return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="not-json", message=message))


def _only(found: list[Any]) -> Any:
    if len(found) == 1:
        return found[0]
    message = (
        f"the run has {len(found)} JSON values, and `await run.json()` returns one. Iterate over `run.json()` instead"
    )
    raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="not-one-value", message=message))


def _of_targets(components: Sequence[str]) -> Wanted:
    def wanted(entry: Entry) -> bool:
        if isinstance(entry, TextOutputs):
            return not components or entry.component in components or bool(entry.name and entry.name in components)
        if entry.WhichOneof("kind") != "output":
            return False
        output = entry.output
        return not components or output.component in components or bool(output.name and output.name in components)

    return wanted


def _output(entry: Entry) -> Iterable[OutputUpdate]:
    if isinstance(entry, TextOutputs):
        return outputs_of(entry)
    value = from_wire(entry)
    return (value,) if isinstance(value, OutputUpdate) else ()


def _of_kind(kind: type[T]) -> Callable[[Entry], Iterable[T]]:
    def read(entry: Entry) -> Iterable[T]:
        return [value for value in from_entry(entry) if isinstance(value, kind)]

    return read
