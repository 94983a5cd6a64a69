"""Frames of 1,920 x 1,080 pixels through three nodes on one host: `python -m bundled.frames` in the folder `benchmarks`.

`video_frames` decodes a video into uncompressed frames, `image_convert` mirrors each, and a third node takes them. Beside it the
same by hand, with PyAV and Pillow in one thread. Prints each value beside its target and exits 1 if one is missed.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import median
from typing import Any

from lanemesh import Context, In, Inputs, Node, Out, Outputs, Pipeline, Video
from lanemesh import Image as ImageValue
from lanemesh_orchestrator import Mesh
from rich.table import Table

from bundled.alone import main
from chain.report import Verdict, console

SIZE = (1_920, 1_080)
RATE = 60
FRAMES = 300
ROUNDS = 3
TARGET, RATIO = 60.0, 0.8
BUFFER_BYTES = 32 * 1024 * 1024
"""Bytes that wait on a lane: five frames. The default of 1 MiB is less than one."""


class TakeFrames(Node):
    """Counts frames."""

    image: In[ImageValue]
    count: Out[int]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Takes all of them."""
        count = 0
        async for _ in inputs.stream("image"):
            count += 1
        await outputs.emit("count", count)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to do it, the median of the rounds."""

    name: str
    frames_per_s: float
    cpu_ms: float
    """Time of the processor for a frame, over all threads."""


def clip(frames: int) -> Video:
    """A video of a moving pattern."""
    import av
    import numpy as np

    file = io.BytesIO()
    stripes: Any = (np.arange(SIZE[0]) // 8 % 256).astype(np.uint8)
    pattern = np.tile(stripes[None, :, None], (SIZE[1], 1, 3))
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(pattern, number * 8, axis=1), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return Video("video/mp4", file.getvalue())


def pipeline() -> Pipeline:
    """The three nodes between a source and a target."""
    made = Pipeline()
    frames = made.add("video_frames", format="raw")
    mirrored = made.add("image_convert", format="raw", flip="horizontal")
    taken = made.add(TakeFrames)
    made.add("webhook").video >> frames.video
    made.connect(frames.frames, mirrored.image, buffer_bytes=BUFFER_BYTES)
    made.connect(mirrored.converted, taken.image, buffer_bytes=BUFFER_BYTES)
    taken.count >> made.add("response", lane="data").data
    return made


def by_hand(video: Video) -> int:
    """The same in a loop. Returns the number of frames."""
    import av
    from PIL.Image import Transpose

    count = 0
    with av.open(io.BytesIO(video.content)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            mirrored = frame.to_image().transpose(Transpose.FLIP_LEFT_RIGHT)
            count += bool(mirrored.tobytes())
    return count


async def measure(*, quick: bool = False) -> list[Row]:
    """Both ways, in turns."""
    frames = FRAMES // 5 if quick else FRAMES
    video = clip(frames)
    taken: dict[str, list[tuple[float, float]]] = {"three nodes": [], "by hand": []}
    async with Mesh(nodes=__file__) as mesh:
        short = clip(2)  # the first run imports the libraries
        await mesh.run(pipeline(), input=short).result()
        by_hand(short)
        for _ in range(1 if quick else ROUNDS):
            wall, processor = time.perf_counter(), time.process_time()
            (count,) = (await mesh.run(pipeline(), input=video).result()).values
            taken["three nodes"].append((time.perf_counter() - wall, time.process_time() - processor))
            wall, processor = time.perf_counter(), time.process_time()
            assert count == by_hand(video) == frames
            taken["by hand"].append((time.perf_counter() - wall, time.process_time() - processor))
    return [
        Row(
            name=name,
            frames_per_s=frames / median(wall for wall, _ in rounds),
            cpu_ms=median(processor for _, processor in rounds) / frames * 1e3,
        )
        for name, rounds in taken.items()
    ]


def judge(rows: Sequence[Row]) -> list[Verdict]:
    """The targets."""
    what = f"{SIZE[0]} x {SIZE[1]} frames through three nodes, frames/s"
    ratio = rows[0].frames_per_s / rows[1].frames_per_s
    return [
        Verdict(what=what, value=rows[0].frames_per_s, bound=TARGET, at_least=True, unit=""),
        Verdict(what="the same, against a loop by hand", value=ratio, bound=RATIO, at_least=True),
    ]


def rows_table(rows: Sequence[Row]) -> Table:
    """The table of values."""
    table = Table(title=f"frames of {SIZE[0]} x {SIZE[1]} pixels, uncompressed")
    for heading in ("way", "frames/s", "processor ms a frame"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(row.name, f"{row.frames_per_s:.1f}", f"{row.cpu_ms:.1f}")
    return table


async def verdicts(quick: bool) -> list[Verdict]:
    """Measures, prints the values, and returns the targets. `quick`: one round of a short video."""
    rows = await measure(quick=quick)
    console().print(rows_table(rows))
    return judge(rows)


if __name__ == "__main__":
    sys.exit(main(__doc__, "one round of a short video, to see that it works", verdicts))
