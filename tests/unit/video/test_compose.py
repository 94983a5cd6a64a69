"""`compose`: the page and the video of a text, a picture and speech."""

from __future__ import annotations

import base64
import math
import re
import struct
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Audio, Image
from lanemesh.testing import NodeResult, run_node
from lanemesh_services.shared.media_errors import MediaUnusable
from lanemesh_services.video.compose import Compose
from lanemesh_services.video.frames import VideoFrames
from lanemesh_services.video.slideshow import _wrapped
from PIL import Image as pillow

from rigs.pictures import gradient, image_of, picture_of

SMALL = {"width": 320, "height": 180}


def speech(seconds: float) -> Audio:
    samples = [round(9_000 * math.sin(index * 0.2)) for index in range(round(seconds * 16_000))]
    return Audio("audio/pcm", struct.pack(f"<{len(samples)}h", *samples), rate=16_000, channels=1)


def composed(**inputs: Any) -> NodeResult:
    config = {**SMALL, **inputs.pop("config", {})}
    return run_node(Compose, config=config, timeout=30, **inputs)


class Elements(HTMLParser):
    """The elements of a page, with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, list[dict[str, str | None]]] = {}
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.setdefault(tag, []).append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_has_all_three_and_loads_nothing() -> None:
    text = "Dear <b>Ada</b> & Bob,\n\n<script>alert('x')</script>\nthe sea is \"blue\"."
    (page,) = composed(text=text, image=image_of(gradient()), audio=speech(0.1), config={"title": "Greetings <i>"}).html
    elements = Elements(page)
    assert "script" not in elements.found
    assert "b" not in elements.found
    assert "Dear <b>Ada</b> & Bob," in elements.text
    assert "<script>alert('x')</script>" in elements.text
    (picture,), (sound,) = elements.found["img"], elements.found["audio"]
    assert str(picture["src"]).startswith("data:image/jpeg;base64,")
    wav = base64.b64decode(str(sound["src"]).removeprefix("data:audio/wav;base64,"))
    assert (wav[:4], len(wav)) == (b"RIFF", 44 + len(speech(0.1).content))
    assert "default-src 'none'" in str(elements.found["meta"])
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)


def test_a_video_lasts_as_long_as_its_speech_and_turns_its_pages() -> None:
    text = " ".join(["a few words of a long letter"] * 12)
    (video,) = composed(text=text, image=image_of(gradient()), audio=speech(3)).video
    read = run_node(VideoFrames, video=video, config={"format": "png"})
    assert len(read.frames) == 6
    assert {picture_of(frame).size for frame in read.frames} == {(320, 180)}
    assert picture_of(read.frames[0]).tobytes() != picture_of(read.frames[-1]).tobytes()
    assert sum(len(piece.content) for piece in read.audio) / 4 / 48_000 == pytest.approx(3, abs=0.1)


def test_what_is_not_connected_is_left_out() -> None:
    only_text = composed(text="hello", config={"seconds": 1})
    assert "<img" not in only_text.html[0]
    assert "<audio" not in only_text.html[0]
    assert len(run_node(VideoFrames, video=only_text.video[0]).frames) == 2


def test_one_of_each_makes_one_page() -> None:
    pages = composed(text=["one", "two"], image=[image_of(gradient()), image_of(pillow.new("RGBA", (9, 9)))]).html
    assert ["one" in pages[0], "two" in pages[1], "image/png" in pages[1]] == [True] * 3


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"image": Image("image/png", b"broken")}, "no image of a known format"),
        ({"audio": Audio("audio/x-unknown", b"abc")}, "browsers do not play"),
        ({"audio": Audio("audio/pcm", b"abcd")}, "no sample rate"),
        ({"audio": Audio("audio/wav", b"")}, "is empty"),
        ({"audio": Audio("audio/wav", b"junk" * 20)}, "cannot be read"),
        ({"audio": speech(2), "config": {"max_seconds": 1}}, "lasts 2 s, and the limit is 1 s"),
        ({"config": {"font": "/no/such/font.ttf"}}, "/no/such/font.ttf cannot be read"),
    ],
)
def test_bad_input_is_named(inputs: dict[str, Any], says: str) -> None:
    with pytest.raises(MediaUnusable, match=says):
        composed(text="hello", **inputs)


def test_a_file_that_is_no_font_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "font.ttf"
    path.write_bytes(b"no font")
    with pytest.raises(MediaUnusable, match="cannot be read"):
        composed(text="hello", config={"font": str(path)})


def test_a_long_word_is_measured_in_short_pieces() -> None:
    measured = 0

    class Font:
        def getlength(self, text: str) -> float:
            nonlocal measured
            measured += len(text)
            return 10.0 * len(text)

    lines = _wrapped("short " + "x" * 20_000, Font(), 300)
    assert "".join(lines).replace(" ", "") == "short" + "x" * 20_000
    assert max(map(len, lines)) == 30
    assert measured < 400 * 20_000
