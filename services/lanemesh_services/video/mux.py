"""`video_mux`: videos of frames and sound."""

from __future__ import annotations

from typing import Annotated, Any

from lanemesh import Audio, Context, Envelope, Group, Image, In, Inputs, Node, Out, Outputs, Video
from lanemesh.extend import in_thread
from pydantic import BaseModel, Field

from lanemesh_services.shared.images import MAX_PIXELS, MOST_PIXELS
from lanemesh_services.shared.media_errors import MediaUnusable, not_encoded, too_large
from lanemesh_services.video.containers import library
from lanemesh_services.video.encoding import Encoding, VideoFormat, VideoWriter
from lanemesh_services.video.waiting_sound import MAX_BYTES, TooMuchSound, WaitingSound


class VideoMux(Node):
    """Makes one video of all frames, and of the sound if it is connected. It leaves in pieces while it is made.

    Frames without a timestamp follow one another at the rate of the settings, and sound without one follows the sound before.
    """

    pip_extra = "video"
    python_packages = ("av", "PIL", "numpy")

    class Config(BaseModel):
        """Settings of the video."""

        format: VideoFormat = Field("mp4", description="mp4: H.264 and AAC, fragmented; webm: VP8 and Opus.")
        rate: float = Field(25, gt=0, le=240, description="Frames a second, of frames without a timestamp.")
        quality: int = Field(23, ge=0, le=51, description="0 is the best; 6 more are half of the size.")
        fragment: float = Field(
            1.0,
            gt=0,
            le=60,
            description="Seconds of a piece, which begins with a key frame; less reaches viewers earlier.",
        )
        max_pixels: int = Field(
            MAX_PIXELS,
            ge=1,
            le=MOST_PIXELS,
            description="Maximum number of pixels of a frame; a larger one is an error.",
        )
        skip_broken: bool = Field(
            False,
            json_schema_extra={"on_error_skip": True},
            description="Leave out frames and sound that cannot be read, with a warning that names them.",
        )

    frames: Annotated[In[Image], "The frames. All have the size of the first one, or are scaled to it."]
    audio: Annotated[In[Audio], "The sound: uncompressed pieces (audio/pcm), or files."] = None  # type: ignore[assignment]
    video: Annotated[Out[Video], "The pieces of the video, in one group. Together they are a file."]

    @classmethod
    async def load(cls, config: Any) -> None:
        """Imports the library, which takes a while. Raises `EngineMissing` if it cannot be imported."""
        await in_thread(library)

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Adds frames and sound as they arrive."""
        muxing = _Muxing(self.config, context, outputs, sound="audio" in inputs.connected)
        async for port, item in inputs.iter_items():
            try:
                if port == "audio":
                    group = item.envelope.group if item.envelope is not None else None
                    await muxing.add_sound(item.value if isinstance(item.value, Audio) else None, group)
                elif isinstance(item.value, Image):
                    await muxing.add_frame(item.value)
            except MediaUnusable as error:
                if not self.config.skip_broken:
                    raise
                context.log.warning("left out: %s", error)
        await muxing.finish()


class _Muxing:
    """One video on its way."""

    def __init__(self, config: Any, context: Context, outputs: Outputs, *, sound: bool) -> None:
        names = {"format", "rate", "quality", "fragment", "max_pixels"}
        self._encoding = Encoding(**config.model_dump(include=names), sound=sound)
        self._writer = VideoWriter(self._encoding)
        self._waiting = WaitingSound()
        self._context = context
        self._outputs = outputs
        self._pieces = 0
        self._frames = 0

    async def add_frame(self, image: Image) -> None:
        """Adds a frame, and after the first one the sound that waited for it."""
        await self._send(await in_thread(self._writer.add_frame, image))
        self._frames += 1
        self._context.progress(self._frames, message="writing a video")
        if self._frames == 1:
            await self._add_waiting()

    async def add_sound(self, audio: Audio | None, group: Group | None) -> None:
        """Adds sound, or keeps it until the first frame has arrived."""
        try:
            self._waiting.put(audio, group)
        except TooMuchSound:
            why = f"more than {MAX_BYTES:,} bytes of it wait for the first frame, or for the end of a file"
            raise too_large(audio or Audio(""), why, "Send the frames with the sound, or shorter files") from None
        if self._frames:
            await self._add_waiting()

    async def finish(self) -> None:
        """Ends the video, and sends the rest of it."""
        component = self._context.component
        if not self._frames:
            hint = "Connect frames, or check why their producer sends none"
            raise not_encoded(f"{component}: a video", "no frame has arrived", hint)
        await self._send(await in_thread(self._writer.finish), last=True)
        if self._writer.reduced:
            limit = self._encoding.max_pixels
            self._context.log.warning(
                "%d frames have more than %d pixels, which is config.max_pixels; they are reduced",
                self._writer.reduced,
                limit,
            )
        if self._writer.dropped:
            self._context.log.warning(
                "%d frames are left out: each has the time of an earlier one", self._writer.dropped
            )
        if lost := self._waiting.incomplete + self._waiting.left:
            self._context.log.warning("%d files of sound are left out: they are not complete", lost)

    async def _add_waiting(self) -> None:
        for audio in self._waiting.take():
            await self._send(await in_thread(self._writer.add_sound, audio))

    async def _send(self, content: bytes, *, last: bool = False) -> None:
        """Sends bytes, if there are any. The last piece ends the group."""
        if not content and not last:
            return
        width, height = self._writer.size
        group = Group(f"{self._context.component}.video", self._pieces, last)
        self._pieces += 1
        video = Video(f"video/{self._encoding.format}", content, width=width, height=height, rate=self._encoding.rate)
        await self._outputs.emit("video", video, Envelope(group=group))
