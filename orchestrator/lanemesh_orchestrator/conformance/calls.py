"""The calls that the driver makes to the server under test: streams of frames, read in the background."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from lanemesh._grpc.status import fault_of
from lanemesh._grpc.writing import half_close
from lanemesh.faults import Fault

from lanemesh_orchestrator.conformance.checks import WAIT_SECONDS, Miss
from lanemesh_orchestrator.conformance.frames import shown

Frame = TypeVar("Frame", bound=Message)


def serialize(frame: Message | bytes) -> bytes:
    """The bytes of a frame; bytes stay what they are, so that the driver can send garbage."""
    return frame if isinstance(frame, bytes) else frame.SerializeToString()


class StreamCall(Generic[Frame]):
    """One bidirectional call to the server under test. A task reads it, so that the server is never held back by the driver."""

    def __init__(self, channel: grpc.aio.Channel, method: str, read: Callable[[bytes], Frame]) -> None:
        """`read` makes a frame of bytes."""
        self._call: Any = channel.stream_stream(method, request_serializer=serialize, response_deserializer=read)()
        self.frames: list[Frame] = []
        """What has come, without heartbeats."""
        self.heartbeats = 0
        """Frames without content that have come."""
        self._taken = 0
        self._news = asyncio.Condition()
        self._over = False
        self._reader = asyncio.create_task(self._read())

    async def send(self, *frames: Message | bytes) -> None:
        """Writes frames. What is written after the end of the call is dropped: the check sees how it ended."""
        for frame in frames:
            with contextlib.suppress(grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
                async with asyncio.timeout(WAIT_SECONDS):
                    await asyncio.shield(asyncio.ensure_future(self._call.write(frame)))

    async def half_close(self) -> None:
        """Ends the requests."""
        await half_close(self._call)

    def cancel(self) -> None:
        """Breaks the call, as a lost peer does."""
        self._call.cancel()

    async def next(self, expected: str, seconds: float = WAIT_SECONDS) -> Frame | None:
        """The next frame, or None at the end of the stream. Raises Miss if there is none in time."""
        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(lambda: self._taken < len(self.frames) or self._over)
        except TimeoutError:
            raise Miss(expected, f"nothing within {seconds:g} s") from None
        if self._taken < len(self.frames):
            self._taken += 1
            return self.frames[self._taken - 1]
        return None

    async def until(self, condition: Callable[[], bool], expected: str, seconds: float = WAIT_SECONDS) -> None:
        """Waits until a condition of the frames holds. Raises Miss if it does not in time, or the stream ends before."""
        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(lambda: condition() or self._over)
        except TimeoutError:
            last = shown(self.frames[-1]) if self.frames else "nothing"
            raise Miss(expected, f"{last} and nothing more within {seconds:g} s") from None
        if not condition():
            raise Miss(expected, f"the end of the call with {await self.described()}")

    async def status(self, expected: str = "the end of the call", seconds: float = WAIT_SECONDS) -> grpc.StatusCode:
        """The status of the call. Raises Miss if it does not end in time."""
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._reader)
        except TimeoutError:
            raise Miss(expected, f"a call that goes on after {seconds:g} s") from None
        return await self._call.code()  # type: ignore[no-any-return]

    async def fault(self) -> Fault | None:
        """The fault of the ended call; None if its status carries none of Lanemesh's."""
        details = (await self._call.trailing_metadata()) or ()
        error = grpc.aio.AioRpcError(
            await self._call.code(), grpc.aio.Metadata(), grpc.aio.Metadata(*details), await self._call.details()
        )
        return fault_of(error)

    async def described(self) -> str:
        """The status of the ended call in words."""
        code = await self.status()
        text = await self._call.details()
        return f"{code.name}{f': {text}' if text else ''}"

    @property
    def is_over(self) -> bool:
        """Whether the call has ended."""
        return self._over

    async def close(self) -> None:
        """Ends the call and its reader."""
        self._call.cancel()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while isinstance(frame := await self._call.read(), Message):
                async with self._news:
                    if self._is_heartbeat(frame):
                        self.heartbeats += 1
                    else:
                        self.frames.extend(self._flat(frame))
                    self._news.notify_all()
            await self._call.code()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass
        finally:
            self._over = True
            with contextlib.suppress(asyncio.CancelledError):
                async with self._news:
                    self._news.notify_all()

    def _is_heartbeat(self, frame: Any) -> bool:
        return frame.WhichOneof("frame") is None if "frame" in frame.DESCRIPTOR.oneofs_by_name else False

    def _flat(self, frame: Any) -> list[Any]:
        """The frames in one frame: `HostResponse.more` follows it."""
        further = list(getattr(frame, "more", ()))
        return [frame, *further]
