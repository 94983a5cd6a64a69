"""The body of a webhook as inputs of a run, while it arrives."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from lanemesh.codec import encode, make_item
from lanemesh.faults import ValueRefused
from lanemesh.file_values import file_document
from lanemesh.items import FILE_NAME, Envelope, Group, LaneType
from lanemesh.v1 import run_pb2
from lanemesh.values import Audio, Image, Media, Video

from lanemesh_orchestrator.gateway.api.values import lane_input
from lanemesh_orchestrator.gateway.bodies import parse_body
from lanemesh_orchestrator.gateway.invalid import invalid
from lanemesh_orchestrator.gateway.off_loop import off_loop
from lanemesh_orchestrator.gateway.problems import bad_request
from lanemesh_orchestrator.gateway.webhooks.forms import Part, PartEnd, form_events
from lanemesh_orchestrator.gateway.webhooks.media_types import FORM, UNKNOWN, ContentType
from lanemesh_orchestrator.gateway.webhooks.pipeline import HookPipeline
from lanemesh_orchestrator.http_server.bodies import too_large, too_slow

WHOLE_BYTES = 8 * 1024 * 1024
"""Largest file that is one value; larger ones are a group of pieces."""
PIECE_BYTES = 1024 * 1024
"""Largest piece of a file."""
KINDS: dict[LaneType, type[Media]] = {LaneType.IMAGE: Image, LaneType.AUDIO: Audio, LaneType.VIDEO: Video}

Inputs = AsyncGenerator[run_pb2.RunInput, None]


class Upload:
    """A body that arrives. `inputs` reads it once."""

    def __init__(
        self,
        pipeline: HookPipeline,
        type: ContentType,  # noqa: A002
        pieces: AsyncIterator[bytes],
        *,
        size: int,
        max_value: int,
        seconds: float,
    ) -> None:
        """A body.

        Args:
            pipeline: what takes it.
            type: its type.
            pieces: its content.
            size: its size in bytes; 0: not known before its end.
            max_value: largest text or JSON value, in bytes; media are not limited by it.
            seconds: longest time in which a text or a JSON value arrives.
        """
        self._pipeline = pipeline
        self._type = type
        self._pieces = pieces
        self._size = size
        self._max_value = max_value
        self._seconds = seconds
        self.error: Exception | None = None
        """Why it could not be read to its end."""
        self.ended = asyncio.Event()
        """Nothing more is read of the body."""

    async def inputs(self) -> Inputs:
        """The inputs of the run, in order; files larger than 8 MiB in pieces of at most 1 MiB.

        Raises:
            LanemeshError: the body is not valid, too large or too slow, or a part of a form is of a type that the pipeline does not
                take.
            ClientDisconnect: the client is gone.
        """
        source = self._of_form() if self._type.name == FORM else self._of_body()
        try:
            async with aclosing(source):
                async for one in source:
                    yield one
        except Exception as error:
            self.error = error
            raise
        finally:
            self.ended.set()

    async def _of_body(self) -> Inputs:
        if not self._type.name:
            async for piece in self._pieces:
                if piece:
                    self._pipeline.check(None, "")
            return
        async for one in self._of_part(self._type, "", self._pieces, self._size):
            yield one

    async def _of_form(self) -> Inputs:
        async with aclosing(form_events(self._pieces, self._type)) as events:
            async for event in events:
                if isinstance(event, Part):
                    content = _content(events)
                    async for one in self._of_part(event.type, event.file_name, content, 0):
                        yield one

    async def _of_part(self, type: ContentType, file_name: str, pieces: AsyncIterator[bytes], size: int) -> Inputs:  # noqa: A002
        lane = self._pipeline.check(type.lane, type.name or UNKNOWN)
        metadata = {FILE_NAME: file_name} if file_name else None
        if lane in KINDS or lane is LaneType.DOCUMENTS:
            async for one in _file(lane, type.name, file_name, pieces, size):
                yield one
            return
        body = await self._whole(pieces)
        if lane is LaneType.TEXT and self._pipeline.takes_files and not type.has_encoding and not _is_utf8(body):
            yield _file_input(LaneType.DOCUMENTS, type.name, body, file_name, None)
            return
        envelope = Envelope(metadata=metadata) if metadata else None
        value = _text(body, type) if lane is LaneType.TEXT else await parse_body(body)
        yield await off_loop(len(body), lane_input, lane, value, "", "", envelope)

    async def _whole(self, pieces: AsyncIterator[bytes]) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(self._seconds):
                async for piece in pieces:
                    body += piece
                    if len(body) > self._max_value:
                        raise too_large(self._max_value)
        except TimeoutError:
            raise too_slow(self._seconds) from None
        return bytes(body)


async def _content(events: AsyncIterator[object]) -> AsyncIterator[bytes]:
    """The content of the part whose head was read last."""
    async for event in events:
        if isinstance(event, PartEnd):
            return
        assert isinstance(event, bytes)
        yield event


def _text(body: bytes, type: ContentType) -> str:  # noqa: A002
    try:
        return body.decode(type.encoding)
    except UnicodeDecodeError as error:
        raise bad_request(f"byte {error.start:,} of the text is not {type.encoding}. Name its charset") from None


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


async def _file(lane: LaneType, mime_type: str, file_name: str, pieces: AsyncIterator[bytes], size: int) -> Inputs:
    """One value, or if it is larger than 8 MiB a group of pieces, of which at most 8 MiB are kept until that is known."""
    group, index = Group(f"upload-{secrets.token_hex(8)}", 0), 0
    is_large, blocks, rest = size > WHOLE_BYTES, deque[bytes](), bytearray()
    async for piece in pieces:
        rest += piece
        while len(rest) > PIECE_BYTES:  # so that the last piece is never empty
            blocks.append(bytes(memoryview(rest)[:PIECE_BYTES]))
            del rest[:PIECE_BYTES]
        is_large = is_large or len(blocks) * PIECE_BYTES + len(rest) > WHOLE_BYTES
        while is_large and blocks:
            yield _file_input(lane, mime_type, blocks.popleft(), file_name, replace(group, index=index))
            index += 1
    content = b"".join([*blocks, rest])
    if not content:
        raise bad_request(f"the body of type {mime_type} is empty. Send its content")
    yield _file_input(lane, mime_type, content, file_name, replace(group, index=index, last=True) if index else None)


def _file_input(
    lane: LaneType, mime_type: str, content: bytes, file_name: str, group: Group | None
) -> run_pb2.RunInput:
    """Media, or for the lane of documents a document whose text has not been read."""
    envelope = Envelope(group=group, metadata={FILE_NAME: file_name} if file_name else None)
    kind = KINDS.get(lane)
    value = kind(mime_type, content) if kind is not None else file_document(file_name, content, mime_type)
    try:
        item = make_item(lane, value, envelope, where="the body")
    except ValueRefused as error:
        raise invalid("", error.fault.message, error.fault.reason) from None
    return run_pb2.RunInput(item=encode(lane, item))
