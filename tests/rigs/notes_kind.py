"""A kind of helper as an author of Lanemesh adds one: a gRPC service, this module, and one row of the table. It keeps notes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import Default
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.text_format import Parse
from lanemesh.control.ends import Answer, HelperEnds, HelperLink
from lanemesh.control.instance import HelperInstance
from lanemesh.control.traced import flat
from lanemesh.helper_kinds import HelperKind, HelperMethod

Default().Add(
    Parse(
        """
        name: "rigs/notes.proto"
        package: "rigs"
        syntax: "proto3"
        message_type { name: "Note"
                       field { name: "title" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
                       field { name: "text" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL } }
        message_type { name: "Written" field { name: "replaced" number: 1 type: TYPE_BOOL label: LABEL_OPTIONAL } }
        message_type { name: "Everything" }
        service { name: "NotesService"
                  method { name: "Write" input_type: ".rigs.Note" output_type: ".rigs.Written" }
                  method { name: "Read" input_type: ".rigs.Everything" output_type: ".rigs.Note" server_streaming: true }
                  method { name: "Burn" input_type: ".rigs.Everything" output_type: ".rigs.Note" server_streaming: true } }
        """,
        FileDescriptorProto(),
    )
)  # as the module does that protoc generates from a .proto file


def _class(name: str) -> Any:
    return GetMessageClass(Default().FindMessageTypeByName(name))


Note, Written, Everything = _class("rigs.Note"), _class("rigs.Written"), _class("rigs.Everything")

NOTES = HelperKind(
    name="notes",
    service="rigs.NotesService",
    module=__name__,
    noun="notebook",
    several='helpers("notes")',
    methods={
        "write": HelperMethod("`def write(self, context, title, text)`", 3),
        "read": HelperMethod("`async def read(self, context)` with `yield`", 1, streams=True),
    },
)


class NotesClient:
    """What a node has of one notebook."""

    def __init__(self, link: HelperLink) -> None:
        self._link = link

    async def write(self, title: str, text: str) -> bool:
        """Keeps a note. Returns whether there was one with the title."""
        response = await self._link.call("Write", Note(title=title, text=text))
        replaced: bool = response.replaced
        return replaced

    async def read(self) -> Sequence[tuple[str, str]]:
        """All titles and texts."""
        return [(note.title, note.text) async for note in self._link.stream("Read", Everything())]

    async def reach(self) -> None:
        """Makes sure that the notebook can be called."""
        await self._link.reach()


async def _write(helper: HelperInstance, note: Any) -> Any:
    return await helper.call("notes", "write", lambda: (helper.context, note.title, note.text), _replaced)


def _replaced(replaced: object) -> Any:
    if not isinstance(replaced, bool):
        raise TypeError("a bool")
    return Written(replaced=replaced)


def _read(helper: HelperInstance, request: Any) -> AsyncGenerator[Any, None]:
    return helper.stream("notes", "read", lambda: (helper.context,), _note)


def _note(pair: Iterable[str]) -> Any:
    title, text = pair
    return Note(title=title, text=text)


class _LastTrace:
    """The response of a method that has one."""

    def add(self, piece: Any) -> dict[str, Any]:
        """The response."""
        return flat(piece)

    def rest(self) -> None:
        """There is no response."""


ENDS = HelperEnds(answers={"Write": Answer(_write, _LastTrace), "Read": Answer(_read)}, client=NotesClient)
