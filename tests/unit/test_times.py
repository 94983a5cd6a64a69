"""Times and durations, in messages and in words."""

from __future__ import annotations

import time

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from lanemesh.times import age, duration, measured, seconds_of, set_seconds, span, stamp


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 0.29, 1.1, 3600.0, 86_400.5])
def test_a_duration_keeps_its_seconds_to_the_nanosecond(seconds: float) -> None:
    assert seconds_of(duration(seconds)) == seconds
    assert duration(seconds).ToNanoseconds() == round(seconds * 1e9)


def test_a_negative_duration_is_none() -> None:
    assert duration(-0.5).ToNanoseconds() == 0


def test_a_timestamp_is_set_to_a_time_or_to_now() -> None:
    moment = Timestamp()
    set_seconds(moment, 1.5)
    assert (moment.seconds, moment.nanos) == (1, 500_000_000)
    before = time.time()
    stamp(moment)
    assert before - 1e-3 <= seconds_of(moment) <= time.time() + 1e-3


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.254, "0.25 s"), (0.999, "1.00 s"), (1.04, "1.0 s"), (123.4, "123.4 s")]
)
def test_a_measured_time(seconds: float, text: str) -> None:
    assert measured(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0.0 s"), (4.21, "4.2 s"), (312.9, "312 s"), (4530, "75 min")])
def test_how_long_something_has_lasted(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (59.9, "59 s"), (60, "1 min"), (7300, "2 h"), (5 * 86_400, "5 d")]
)
def test_a_time_in_its_largest_unit(seconds: float, text: str) -> None:
    assert age(seconds) == text
