"""Makes boat.mp4 beside this file: `python examples/inputs/make_video.py`. Needs lanemesh[video]; its sound is question.wav."""

from __future__ import annotations

import io
import math
from pathlib import Path

from lanemesh import Audio, Image
from lanemesh.testing import run_node
from lanemesh_services.video.mux import VideoMux
from PIL import Image as pillow
from PIL import ImageDraw

FOLDER = Path(__file__).parent
RATE, FRAMES, WIDTH, HEIGHT = 12, 33, 320, 180


def frame(number: int) -> Image:
    """A boat that crosses the harbour, at one time of the video."""
    picture = pillow.new("RGB", (WIDTH, HEIGHT), "#f4c27a")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((230, 20, 280, 70), fill="#fff3c4")
    draw.rectangle((0, 110, WIDTH, HEIGHT), fill="#2f6f8f")
    x = 20 + number * (WIDTH - 120) // FRAMES
    y = 100 + round(4 * math.sin(number / 3))
    draw.polygon([(x, y), (x + 80, y), (x + 66, y + 22), (x + 14, y + 22)], fill="#7a2e1d")
    draw.line((x + 40, y, x + 40, y - 62), fill="#3b2a20", width=3)
    draw.polygon([(x + 44, y - 60), (x + 44, y - 6), (x + 76, y - 6)], fill="#fafafa")
    for wave in range(0, WIDTH, 40):
        left = (wave + 3 * number) % WIDTH
        draw.line((left, 140, left + 18, 140), fill="#9fd0e0", width=2)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return Image("image/png", file.getvalue(), timestamp=number / RATE)


if __name__ == "__main__":
    sound = Audio("audio/wav", (FOLDER / "question.wav").read_bytes())
    frames = [frame(number) for number in range(FRAMES)]
    made = run_node(VideoMux, config={"rate": RATE}, frames=frames, audio=sound, timeout=60)
    (FOLDER / "boat.mp4").write_bytes(b"".join(piece.content for piece in made.video))
