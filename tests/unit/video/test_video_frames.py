"""`video_frames`: what it selects, and what it does with broken files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from lanemesh import Video
from lanemesh.testing import NodeResult, run_node
from lanemesh_services.shared.media_errors import MediaUnusable
from lanemesh_services.video.frames import VideoFrames
from pydantic import ValidationError

from rigs.pictures import picture_of
from rigs.videos import video_of


def read(*videos: Video, **config: Any) -> NodeResult:
    return run_node(VideoFrames, video=list(videos), config=config)


def times(result: NodeResult) -> list[float]:
    return [frame.timestamp for frame in result.frames]


def brightness(result: NodeResult) -> list[int]:
    return [picture_of(frame).convert("L").getpixel((9, 9)) // 4 for frame in result.frames]


@pytest.mark.parametrize("form", ["mp4", "webm"])
def test_every_frame_has_its_time(form: str) -> None:
    result = read(video_of(form=form))
    assert times(result) == pytest.approx([number / 25 for number in range(50)], abs=0.001)
    assert brightness(result)[::10] == pytest.approx([0, 10, 20, 30, 40], abs=1)
    assert {(frame.mime_type, frame.width, frame.height) for frame in result.frames} == {("image/jpeg", 64, 48)}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"rate": 2}, [0, 0.52, 1, 1.52]),
        ({"rate": 10, "max_frames": 3}, [0, 0.12, 0.2]),
        ({"rate": 100, "end": 0.12}, [0, 0.04, 0.08]),
        ({"start": 1.5, "rate": 5}, [1.52, 1.72, 1.92]),
        ({"key_frames": True}, [0, 0.48, 0.96, 1.44, 1.92]),
    ],
)
def test_frames_are_selected(config: dict[str, Any], expected: list[float]) -> None:
    assert times(read(video_of(), **config)) == pytest.approx(expected, abs=0.001)


@pytest.mark.parametrize(
    ("config", "size"), [({"width": 32}, (32, 24)), ({"height": 12}, (16, 12)), ({"width": 9, "height": 9}, (9, 9))]
)
def test_frames_are_resized(config: dict[str, Any], size: tuple[int, int]) -> None:
    (frame,) = read(video_of(), max_frames=1, **config).frames
    assert (frame.width, frame.height) == size == picture_of(frame).size


def test_uncompressed_frames_have_three_bytes_a_pixel() -> None:
    (frame,) = read(video_of(), max_frames=1, format="raw").frames
    assert (frame.mime_type, len(frame.content)) == ("image/x-raw;format=rgb24", 64 * 48 * 3)


def test_the_sound_has_times_without_gaps() -> None:
    result = read(video_of(sound=True))
    assert {(piece.mime_type, piece.rate, piece.channels) for piece in result.audio} == {("audio/pcm", 48_000, 1)}
    at = 0.0
    for piece in result.audio:
        assert piece.timestamp == pytest.approx(at, abs=0.03)
        at = piece.timestamp + len(piece.content) / 2 / 48_000
    assert at == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
    ("video", "reason", "says"),
    [
        (Video("video/mp4"), "media-empty", "is empty"),
        (Video("video/mp4", uri="https://example.com/a.mp4"), "media-empty", "does not fetch addresses"),
        (Video("video/mp4", b"junk" * 100), "media-broken", "invalid data"),
        (Video("video/mp4", b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"), "media-broken", "invalid"),
        (replace(video_of(), content=video_of().content[:-700]), "media-broken", "cannot be read"),
        (
            replace(video_of(4, form="webm"), content=video_of(4, form="webm").content[:2000]),
            "media-broken",
            "truncated",
        ),
        (video_of(frames=False, sound=True), "media-broken", "has no video"),
    ],
)
def test_a_broken_video_is_named_and_the_next_one_is_read(video: Video, reason: str, says: str) -> None:
    with pytest.raises(MediaUnusable) as caught:
        read(video)
    assert caught.value.fault.reason == reason
    assert says in str(caught.value).lower()
    assert "the video (video/" in str(caught.value)
    after = read(video, video_of(0.2), skip_broken=True)
    assert times(after)[-5:] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16], abs=0.001)


def test_frames_with_too_many_pixels_are_refused() -> None:
    with pytest.raises(MediaUnusable, match="64 x 48 pixels, and the limit is 1,000 pixels"):
        read(video_of(), max_pixels=1_000)


def test_the_end_is_after_the_start() -> None:
    with pytest.raises(ValidationError, match="end is not after start"):
        read(video_of(), start=3, end=2)


def test_frames_that_a_setting_would_make_too_large_are_refused() -> None:
    with pytest.raises(MediaUnusable, match="would have 8,192 x 32,768 pixels"):
        read(video_of(0.2, size=(16, 64)), width=8_192)
