"""`zip_by_time`: pairs of frames and sound."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from lanemesh import Audio, Context, Image, In, Inputs, Media, Node, Out, Outputs
from pydantic import BaseModel, Field

from lanemesh_services.shared.media_errors import described, not_decoded
from lanemesh_services.video.time_pairs import Side, TimePairs

_SIDES: dict[str, Side] = {"image": "left", "audio": "right"}


class ZipByTime(Node):
    """Pairs images and sound by their timestamps: each with the nearest one of the other lane, within a tolerance.

    The two of a pair leave by their outputs in the same order, so that a `zip_all` behind it takes them together. Items that have
    no partner are dropped and counted.
    """

    class Config(BaseModel):
        """Settings of the pairs."""

        tolerance: float = Field(
            0.04, ge=0, le=3_600, description="Maximum number of seconds between the two of a pair."
        )
        buffer: int = Field(
            64, ge=2, le=10_000, description="Maximum number of items of each lane that wait for a partner."
        )
        when_full: Literal["wait", "drop"] = Field(
            "wait",
            description=(
                "What follows when this number waits, and the other lane is silent: wait stops its producer, drop drops the oldest "
                "item, as live sources need it."
            ),
        )

    image: Annotated[In[Image], "Images with timestamps that increase."]
    audio: Annotated[In[Audio], "Pieces of sound with timestamps that increase."]
    images: Annotated[Out[Image], "The images of the pairs."]
    sounds: Annotated[Out[Audio], "The sound of the pairs, in the same order."]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Pairs items as they arrive."""
        pairs: TimePairs[Any] = TimePairs(self.config.tolerance, self.config.buffer)
        changed = asyncio.Condition()
        sending = asyncio.Lock()

        async def send() -> None:
            async with sending:
                for image, sound in pairs.pairs():
                    await outputs.emit("images", image)
                    await outputs.emit("sounds", sound)
            async with changed:
                changed.notify_all()

        async def read(port: str) -> None:
            side = _SIDES[port]
            last = float("-inf")
            async for media in inputs.stream(port):
                last = _time_after(media, last)
                if self.config.when_full == "wait":
                    async with changed:
                        await changed.wait_for(lambda: not pairs.is_full(side))
                pairs.put(side, last, media)
                await send()
            pairs.end(side)
            await send()

        readers = [asyncio.create_task(read(port), name=f"read {port} of {context.component}") for port in _SIDES]
        try:
            await asyncio.gather(*readers)
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
        for port, side in _SIDES.items():
            if pairs.dropped[side]:
                context.log.warning(
                    "%d items of %s are dropped: no partner within the tolerance", pairs.dropped[side], port
                )


def _time_after(media: Media, last: float) -> float:
    """The time of an item. Raises `MediaUnusable` if it has none, or one before the last."""
    if media.timestamp is None:
        hint = "Connect a node that sets timestamps, such as video_frames"
        raise not_decoded(described(media), "it has no timestamp", hint)
    if media.timestamp < last:
        hint = "Sort the items by their timestamps before"
        raise not_decoded(described(media), f"its timestamp is before that of the item before, {last:g} s", hint)
    return media.timestamp
