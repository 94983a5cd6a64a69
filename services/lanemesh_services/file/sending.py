"""Sends the inputs of a client by the outputs that can carry them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lanemesh import Audio, Context, Document, Image, Outputs, Video
from lanemesh.extend import FILE_NAME, file_document, file_tags


@dataclass(frozen=True, slots=True)
class Forms:
    """The values of an input by the outputs that can carry it; a `partial` returns a value that is costly to make."""

    direct: Mapping[str, Any] = field(default_factory=dict)
    """It is sent by each of these that is connected."""
    fallback: Mapping[str, Any] = field(default_factory=dict)
    """It is sent by the first connected one of these, if none of `direct` is connected."""


def file_forms(value: object, name: str) -> Forms:
    """A text, document or media for each output that can carry it, the file itself as tags among them."""
    match value:
        case Document() if value.file is not None and not value.content:
            return Forms({"documents": value, "tags": partial(file_tags, value, name)})
        case Document():
            return Forms({"documents": value, "text": value.content, "tags": partial(file_tags, value, name)})
        case str():
            return Forms(
                {"text": value, "documents": Document(value, source=name), "tags": partial(file_tags, value, name)}
            )
        case Image() | Audio() | Video():
            lane = type(value).__name__.lower()
            if value.uri:  # its bytes are elsewhere
                return Forms({lane: value})
            document = file_document(name, value.content, value.mime_type)
            return Forms({lane: value, "tags": partial(file_tags, value, name)}, {"documents": document})
    return Forms()


async def send_inputs(
    context: Context, outputs: Outputs, forms_of: Callable[[Any, str, str], Forms], what: str
) -> None:
    """Sends each input by every connected output that can carry it, or by the one that the client names.

    Args:
        context: that of the source.
        outputs: its outputs.
        forms_of: returns the values of an input by output, from the input, its lane, and the name of its file or "".
        what: a description of an input for errors, such as "a file".

    Raises:
        TypeError: no connected output can carry an input.
    """
    async for given in context.client.inputs(context.component):
        if not given.has_value:
            continue
        envelope = given.item.envelope
        name = str((envelope.metadata or {}).get(FILE_NAME, "")) if envelope is not None else ""
        forms = forms_of(given.item.value, given.kind, name)
        known = {**forms.fallback, **forms.direct}
        ports = [given.port] if given.port else list(_connected(forms, context.connected_outputs))
        if not set(ports) & known.keys():
            raise TypeError(_not_taken(what, given.kind, known, context))
        if envelope is not None and envelope.group is not None and "tags" in ports:
            raise TypeError(
                f"{what} of more than 8 MiB comes in pieces, which the lane tags cannot carry. Connect the output documents "
                "in place of tags, or send a smaller file"
            )
        for port in ports:
            await outputs.emit(port, _made(known[port]), envelope)


def connected_forms(forms: Forms, connected: Collection[str]) -> dict[str, Any]:
    """The values of an input by the connected outputs that send it; empty if none can carry it."""
    known = {**forms.fallback, **forms.direct}
    return {port: _made(known[port]) for port in _connected(forms, connected)}


def _connected(forms: Forms, connected: Collection[str]) -> list[str]:
    direct = [port for port in forms.direct if port in connected]
    return direct or [port for port in forms.fallback if port in connected][:1]


def _made(value: Any) -> Any:
    return value() if isinstance(value, partial) else value


def _not_taken(what: str, kind: str, known: Mapping[str, Any], context: Context) -> str:
    connected = ", ".join(sorted(context.connected_outputs)) or "nothing"
    return (
        f"{what} of type {kind} can be sent by {', '.join(known) or 'no output'}, but connected is {connected}. "
        f"Connect one of these outputs, or send {what} of another type"
    )
