"""Times in the form of cron."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from lanemesh.faults import LanemeshError
from lanemesh_services.file.schedule import Schedule


@pytest.mark.parametrize(
    ("text", "time", "expected"),
    [
        ("* * * * *", "2026-03-01 10:00", "2026-03-01 10:01"),
        ("*/15 * * * *", "2026-03-01 10:46", "2026-03-01 11:00"),
        ("30 6 * * 1-5", "2026-03-06 06:30", "2026-03-09 06:30"),
        ("0 0 29 2 *", "2026-03-01 10:00", "2028-02-29 00:00"),
        ("0 12 1,15 * fri", "2026-03-02 00:00", "2026-03-06 12:00"),
        ("5 0 * jan 7", "2026-03-01 10:00", "2027-01-03 00:05"),
        ("10/20 8-9 * * *", "2026-03-01 08:10", "2026-03-01 08:30"),
    ],
)
def test_the_next_time_of_a_schedule(text: str, time: str, expected: str) -> None:
    assert Schedule.parse(text).after(datetime.fromisoformat(time)) == datetime.fromisoformat(expected)


def test_a_time_keeps_its_zone() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    found = Schedule.parse("0 6 * * *").after(datetime(2026, 3, 28, 12, tzinfo=berlin))
    assert found is not None
    assert found.isoformat() == "2026-03-29T06:00:00+02:00"


@pytest.mark.parametrize(
    "text", ["", "* * * *", "60 * * * *", "* * 0 * *", "a * * * *", "*/0 * * * *", "0 0 31 2 *", "5-1 * * * *"]
)
def test_what_is_no_schedule_is_an_error_that_quotes_it(text: str) -> None:
    with pytest.raises(LanemeshError, match="five fields") as caught:
        Schedule.parse(text)
    assert caught.value.fault.reason == "bad-schedule"
