"""`video_frames`: the frames and the sound of videos."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Annotated, Any

from lanemesh import Audio, Context, Image, In, Inputs, Media, Node, Out, Outputs, Video
from lanemesh.extend import FILE_NAME, in_thread
from pydantic import BaseModel, Field, model_validator

from lanemesh_services.shared.emitting import Emitter, emitted
from lanemesh_services.shared.images import MAX_PIXELS, MOST_PIXELS, ImageFormat
from lanemesh_services.shared.media_errors import MediaUnusable, described, no_bytes, not_decoded, of_file, too_large
from lanemesh_services.video.containers import library
from lanemesh_services.video.piece_file import NoSpace, PieceFile, ReaderStopped

GIB = 1024**3


class VideoFrames(Node):
    """Sends the frames of videos as images with timestamps, and their sound, while they are read.

    Takes whole files, and files in pieces of one group, such as those of `video_mux`. A file whose index is at its end is read
    when all of it has arrived.
    """

    pip_extra = "video"
    python_packages = ("av", "PIL", "numpy")

    class Config(BaseModel):
        """Settings of the selection."""

        rate: float | None = Field(
            None, gt=0, le=1_000, description="Frames a second, at most as many as the video has; null: every frame."
        )
        key_frames: bool = Field(False, description="Only key frames, which are decoded without the others.")
        start: float = Field(
            0, ge=0, description="Seconds from the start of the video at which the first frame is sent."
        )
        end: float | None = Field(None, gt=0, description="Seconds at which it ends; null: at the end of the video.")
        max_frames: int | None = Field(None, ge=1, description="Maximum number of frames of a video; null: no limit.")
        width: int | None = Field(
            None, ge=1, le=8_192, description="Width in pixels; null: as the video, or by `height`."
        )
        height: int | None = Field(
            None, ge=1, le=8_192, description="Height in pixels; null: as the video, or by `width`."
        )
        format: ImageFormat = Field(
            "jpeg", description='Format of the frames; "raw": uncompressed, three bytes a pixel.'
        )
        quality: int = Field(90, ge=1, le=100, description="Quality of JPEG, WEBP and AVIF.")
        max_pixels: int = Field(
            MAX_PIXELS,
            ge=1,
            le=MOST_PIXELS,
            description="Maximum number of pixels of a frame; a larger one is an error.",
        )
        max_bytes: int = Field(
            GIB, ge=1, le=64 * GIB, description="Maximum size of a video in pieces; above 16 MiB it is kept on disk."
        )
        skip_broken: bool = Field(
            False,
            json_schema_extra={"on_error_skip": True},
            description="Go on with the next video after one that cannot be read, with a warning that names it.",
        )

        @model_validator(mode="after")
        def _ends_after_its_start(self) -> VideoFrames.Config:
            if self.end is not None and self.end <= self.start:
                raise ValueError("end is not after start")
            return self

    video: Annotated[In[Video], "Whole files, or pieces of files in groups."]
    frames: Annotated[Out[Image], "The frames, with `timestamp` in seconds from the start of the video, and `rate`."]
    audio: Annotated[Out[Audio], "The sound in pieces (audio/pcm, 48 kHz), with `timestamp`."]

    @classmethod
    async def load(cls, config: Any) -> None:
        """Imports the library, which takes a while. Raises `EngineMissing` if it cannot be imported."""
        await in_thread(library)

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Reads one video after the other."""
        reading: _Reading | None = None
        try:
            async for _, item in inputs.iter_items():
                group = item.envelope.group if item.envelope is not None else None
                if reading is None or group is None or group.id != reading.group:
                    if reading is not None:
                        raise _interleaved(context)
                    if not isinstance(item.value, Video):
                        continue
                    reading = _Reading(self.config, context, outputs, item, group.id if group is not None else "")
                if isinstance(item.value, Video):
                    await reading.add(item.value, last=group is None)
                if group is None or group.last:
                    whole = group is None or group.outcome.name == "OK"
                    done, reading = reading, None
                    await self._end(context, done, whole=whole)
                    await outputs.done_with(done.item)
        finally:
            if reading is not None:
                await reading.cancel()

    async def _end(self, context: Context, reading: _Reading, *, whole: bool) -> None:
        if not whole:
            await reading.cancel()
            context.log.warning("%s is left out: its producer has failed or was cancelled", described(reading.video))
            return
        try:
            await reading.finish()
        except MediaUnusable as error:
            named = of_file(error, reading.file_name) if reading.file_name else error
            if not self.config.skip_broken:
                raise named from error
            context.log.warning("a video is skipped: %s", named)


class _Reading:
    """One video: its file, and the task that sends what is read from it."""

    def __init__(self, config: Any, context: Context, outputs: Outputs, item: Any, group: str) -> None:
        self.group = group
        self.item = item
        self.video: Video = item.value
        metadata = item.envelope.metadata if item.envelope is not None else None
        self.file_name = str((metadata or {}).get(FILE_NAME, ""))
        """The name of the file that it comes from; empty if it is unknown."""
        self._config = config
        self._context = context
        self._outputs = outputs
        self._file = PieceFile() if group else None
        self._error: MediaUnusable | None = None
        self._sending: asyncio.Task[None] | None = None

    async def add(self, piece: Video, *, last: bool) -> None:
        """Adds a piece; the only one of a whole file."""
        if self._file is None:
            if not piece.content:
                self._error = no_bytes(piece)
            else:
                self._begin(io.BytesIO(piece.content))
            return
        if self._sending is None:
            self._begin(self._file)
        if self._file.size + len(piece.content) > self._config.max_bytes:
            limit = f"it has more than {self._config.max_bytes:,} bytes"
            self._error = too_large(self.video, limit, "Raise config.max_bytes, or send a shorter video")
            self._file.stop()
            return
        try:
            await self._file.put(piece.content)
        except NoSpace as error:
            hint = "Read fewer videos at the same time, or free space on the node server's disk"
            self._error = too_large(self.video, str(error.strerror), hint)
            self._file.stop()

    async def finish(self) -> None:
        """Waits until all of it is sent. Raises `MediaUnusable`."""
        if self._file is not None:
            if not self._file.size and self._error is None:
                self._error = no_bytes(self.video)
            self._file.end()
        if self._sending is not None:
            with suppress(ReaderStopped):
                await self._sending
        await self._close()
        if self._error is not None:
            raise self._error

    async def cancel(self) -> None:
        """Stops the reading of an incomplete video."""
        if self._file is not None:
            self._file.stop()
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])
        await self._close()

    async def _close(self) -> None:
        """Frees the file, also if no thread has read it."""
        if self._file is not None:
            await in_thread(self._file.close)

    def _begin(self, file: Any) -> None:
        self._sending = asyncio.create_task(self._send(file), name=f"read a video of {self._context.component}")

    async def _send(self, file: Any) -> None:
        connected = self._context.connected_outputs
        function = _reader(file, self.video, self._config, self._context, connected)
        async with aclosing(emitted(function, ahead=4)) as values:
            async for port, value in values:
                if not await self._outputs.emit(port, value, source=self.item) and len(connected) == 1:
                    return


def _reader(
    file: Any, video: Video, config: Any, context: Context, connected: frozenset[str]
) -> Callable[[Emitter[tuple[str, Media]]], None]:
    """A blocking function that emits the frames and the sound of a file."""

    def read(emitter: Emitter[tuple[str, Media]]) -> None:
        from lanemesh_services.video.decoding import Selection, decoded

        settings = config.model_dump(exclude={"max_bytes", "skip_broken"})
        selection = Selection(**settings, frames="frames" in connected or not connected, sound="audio" in connected)
        whole = isinstance(file, io.BytesIO)
        try:
            values = decoded(
                *(file, video, selection, context.progress, context.log.warning),
                whole=whole,
                stopped=lambda: emitter.stopped,
            )
            for value in values:
                if not emitter.emit(value):
                    return
        finally:
            file.close()

    return read


def _interleaved(context: Context) -> MediaUnusable:
    hint = 'Set "merge": "group" on the edge, so that the pieces of one video come after those of another'
    return not_decoded(f"{context.component}: a video in pieces", "pieces of another video arrived between them", hint)
