"""Pairs of frames and sound by their times."""

from __future__ import annotations

import random

import pytest
from lanemesh import Audio, Image
from lanemesh.testing import NodeResult, run_node
from lanemesh_services.shared.media_errors import MediaUnusable
from lanemesh_services.video.time_pairs import TimePairs
from lanemesh_services.video.zip_by_time import ZipByTime


def images(*times: float | None) -> list[Image]:
    return [Image("image/png", b"x", timestamp=at) for at in times]


def sounds(*times: float) -> list[Audio]:
    return [Audio("audio/pcm", b"xx", timestamp=at) for at in times]


def pairs(result: NodeResult) -> list[tuple[float, float]]:
    return [(image.timestamp, sound.timestamp) for image, sound in zip(result.images, result.sounds, strict=True)]


def test_each_image_has_the_nearest_sound_and_the_rest_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    result = run_node(ZipByTime, image=images(0, 0.04, 0.5, 1.0), audio=sounds(0.03, 0.52, 0.99, 1.01, 2))
    assert pairs(result) == [(0.04, 0.03), (0.5, 0.52), (1.0, 0.99)]
    assert "1 items of image are dropped" in caplog.text
    assert "2 items of audio are dropped" in caplog.text


def test_the_order_of_arrival_changes_nothing() -> None:
    expected = [(number, number) for number in range(0, 40, 2)]
    for seed in range(5):
        order = random.Random(seed).sample(["image"] * 40 + ["audio"] * 20, 60)
        left, right = images(*range(40)), sounds(*range(0, 40, 2))
        arrivals = [(port, (left if port == "image" else right).pop(0)) for port in order]
        assert pairs(run_node(ZipByTime, arrivals=arrivals, config={"tolerance": 0.5})) == expected


def test_a_lane_that_is_far_ahead_waits() -> None:
    arrivals = [*[("image", image) for image in images(*range(100))], *[("audio", one) for one in sounds(*range(100))]]
    result = run_node(ZipByTime, arrivals=arrivals, config={"buffer": 10})
    assert pairs(result) == [(number, number) for number in range(100)]


def test_the_oldest_are_dropped_where_live_sources_cannot_wait() -> None:
    waiting: TimePairs[int] = TimePairs(0.1, 10)
    for number in range(100):
        waiting.put("left", number, number)
        assert list(waiting.pairs()) == []
    assert waiting.dropped == {"left": 90, "right": 0}
    for number in range(85, 100):
        waiting.put("right", number, -number)
    waiting.end("left")
    waiting.end("right")
    assert list(waiting.pairs()) == [(number, -number) for number in range(90, 100)]
    assert waiting.dropped == {"left": 90, "right": 5}


def test_items_without_times_or_out_of_order_are_named() -> None:
    with pytest.raises(MediaUnusable, match="has no timestamp"):
        run_node(ZipByTime, image=images(None), audio=sounds(0))
    with pytest.raises(MediaUnusable, match="before that of the item before, 2 s"):
        run_node(ZipByTime, image=images(0), audio=sounds(2, 1))
