"""`video_mux`: the videos that it writes are read again by `video_frames`."""

from __future__ import annotations

import math
import struct
from dataclasses import replace

import pytest
from lanemesh import Audio, Image, Video
from lanemesh.testing import NodeResult, run_node
from lanemesh_services.shared.media_errors import MediaUnusable
from lanemesh_services.video.frames import VideoFrames
from lanemesh_services.video.mux import VideoMux
from PIL import Image as pillow

from rigs.pictures import image_of


def frames(count: int = 50, size: tuple[int, int] = (64, 48)) -> list[Image]:
    """Frames that become brighter by 4 each."""
    return [image_of(pillow.new("RGB", size, (number * 4 % 256,) * 3)) for number in range(count)]


def tone(seconds: float, at: float | None = None, rate: int = 16_000) -> Audio:
    """A loud tone."""
    samples = [round(20_000 * math.sin(index * 0.2)) for index in range(round(seconds * rate))]
    return Audio("audio/pcm", struct.pack(f"<{len(samples)}h", *samples), timestamp=at, rate=rate, channels=1)


def whole(result: NodeResult) -> Video:
    """The pieces as a file; they are one group."""
    groups = [item.envelope.group for item in result.items["video"] if item.envelope is not None]
    assert [group.index for group in groups if group] == list(range(len(result.video)))
    assert [group.last for group in groups if group] == [False] * (len(result.video) - 1) + [True]
    first: Video = result.video[0]
    return replace(first, content=b"".join(piece.content for piece in result.video))


def loudness(pieces: list[Audio], start: float, end: float) -> float:
    """The mean volume of the sound from `start` to `end`, in seconds."""
    samples = [
        abs(int(value))
        for piece in pieces
        if start <= piece.timestamp < end  # type: ignore[operator]
        for (value,) in struct.iter_unpack("<h", piece.content)
    ]
    return sum(samples) / max(1, len(samples))


@pytest.mark.parametrize("form", ["mp4", "webm"])
def test_frames_and_sound_come_back_at_their_times(form: str) -> None:
    arrivals = [("audio", tone(0.5)), *[("frames", frame) for frame in frames()], ("audio", tone(0.5, at=1.2))]
    written = run_node(VideoMux, arrivals=arrivals, config={"format": form, "fragment": 0.5}, timeout=30)
    assert len(written.video) >= 3
    again = run_node(VideoFrames, video=whole(written), config={"format": "raw"})
    assert [frame.timestamp for frame in again.frames] == pytest.approx([number / 25 for number in range(50)], abs=0.02)
    assert [frame.content[0] // 4 for frame in again.frames][5::10] == pytest.approx([5, 15, 25, 35, 45], abs=1)
    assert loudness(again.audio, 0.1, 0.4) > 5_000
    assert loudness(again.audio, 0.7, 1.1) < 100
    assert loudness(again.audio, 1.3, 1.6) > 5_000


def test_the_same_input_is_the_same_file() -> None:
    first, second = (whole(run_node(VideoMux, frames=frames(10), timeout=30)) for _ in range(2))
    assert first == second


def test_timestamps_decide_and_repeated_ones_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    times = (0, 0.5, 0.5, 0.2, 3)
    given = [replace(frame, timestamp=at) for frame, at in zip(frames(5), times, strict=True)]
    video = whole(run_node(VideoMux, frames=given, timeout=30))
    assert [frame.timestamp for frame in run_node(VideoFrames, video=video).frames] == pytest.approx(
        [0, 0.5, 3], abs=0.01
    )
    assert "2 frames are left out" in caplog.text


def test_all_frames_have_an_even_size_like_the_first() -> None:
    video = whole(run_node(VideoMux, frames=[*frames(1, (31, 21)), *frames(1, (90, 10))], timeout=30))
    again = run_node(VideoFrames, video=video).frames
    assert [(frame.width, frame.height) for frame in again] == [(30, 20)] * 2


def test_broken_frames_and_sound_are_named_or_left_out() -> None:
    broken = Image("image/png", b"broken", timestamp=2)
    odd = Audio("audio/pcm", b"abc", rate=8_000)
    good = frames(3)
    for arrivals in ([("frames", good[0]), ("frames", broken)], [("frames", good[0]), ("audio", odd)]):
        with pytest.raises(MediaUnusable, match=r"the image \(image/png|audio \(audio/pcm"):
            run_node(VideoMux, arrivals=arrivals, timeout=30)
    arrivals = [("frames", good[0]), ("frames", broken), ("audio", odd), ("frames", good[1])]
    kept = run_node(VideoMux, arrivals=arrivals, config={"skip_broken": True}, timeout=30)
    assert len(run_node(VideoFrames, video=whole(kept)).frames) == 2


@pytest.mark.parametrize(
    ("sound", "says"),
    [(tone(0.1, at=1e9), "the limit is 3,600 s"), (Audio("audio/pcm", bytes(200), rate=1), "of 1,000 to 384,000 Hz")],
    ids=["time", "rate"],
)
def test_sound_that_would_last_for_years_is_refused(sound: Audio, says: str) -> None:
    with pytest.raises(MediaUnusable, match=says):
        run_node(VideoMux, arrivals=[("frames", frames(1)[0]), ("audio", sound)], timeout=30)


def test_a_video_without_frames_is_an_error() -> None:
    with pytest.raises(MediaUnusable, match="no frame has arrived"):
        run_node(VideoMux, arrivals=[("audio", tone(0.1))], frames=[], timeout=30)


def test_sound_in_files_is_joined_and_a_file_with_frames_only_is_refused() -> None:
    wav = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 32_036, b"WAVE", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16, b"data", 32_000
    )
    arrivals = [("frames", frame) for frame in frames(25)]
    sound = Audio("audio/wav", wav + tone(1).content)
    video = whole(run_node(VideoMux, arrivals=[("audio", sound), *arrivals], timeout=30))
    assert loudness(run_node(VideoFrames, video=video).audio, 0.2, 0.8) > 5_000
    silent = whole(run_node(VideoMux, frames=frames(5), timeout=30))
    with pytest.raises(MediaUnusable, match="it has no sound"):
        run_node(VideoMux, arrivals=[*arrivals, ("audio", Audio("video/mp4", silent.content))], timeout=30)


def test_frames_that_are_reduced_while_they_are_decoded_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    large = image_of(pillow.new("RGB", (640, 480), (90, 90, 90)), "jpeg")
    written = run_node(VideoMux, frames=[large, large], config={"max_pixels": 100_000}, timeout=30)
    assert (written.video[0].width, written.video[0].height) == (320, 240)
    assert "2 frames have more than 100000 pixels" in caplog.text
