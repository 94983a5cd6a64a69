"""Times in the form of cron: five fields, for minute, hour, day of month, month and day of week."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from lanemesh_services.file.errors import bad_schedule

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7))
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
    )
}
_DAYS = {name: number for number, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_HORIZON = timedelta(days=366 * 8)
"""A leap day comes within eight years."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The times of a schedule, minute by minute."""

    text: str
    """As it was written."""
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """From 0, which is Sunday."""
    either: bool
    """A day counts if its day of month or its day of week does, since both are restricted."""

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """The schedule of a text: each field is "*", a number, a range ("1-5"), a step ("*/15") or several of them ("0,30").

        Raises:
            BadSchedule: it is not of this form, or never comes.
        """
        parts = text.lower().split()
        if len(parts) != len(_FIELDS):
            raise bad_schedule(text, f"it has {len(parts)} fields")
        names: tuple[dict[str, int], ...] = ({}, {}, {}, _MONTHS, _DAYS)
        minutes, hours, days, months, week = (
            _numbers(text, part, *field, known) for part, field, known in zip(parts, _FIELDS, names, strict=True)
        )
        weekdays = frozenset(day % 7 for day in week)
        either = not parts[2].startswith("*") and not parts[4].startswith("*")
        found = cls(text, minutes, hours, days, months, weekdays, either)
        if found.after(datetime(2000, 1, 1)) is None:
            raise bad_schedule(text, "no day is like this")
        return found

    def after(self, time: datetime) -> datetime | None:
        """The first time after another one, in its time zone; None if there is none within eight years."""
        moment = time.replace(second=0, microsecond=0) + timedelta(minutes=1)
        end = moment + _HORIZON
        while moment < end:
            if moment.month not in self.months or not self._has_day(moment):
                moment = moment.replace(hour=0, minute=0) + timedelta(days=1)
            elif moment.hour not in self.hours:
                moment = moment.replace(minute=0) + timedelta(hours=1)
            elif moment.minute not in self.minutes:
                moment += timedelta(minutes=1)
            else:
                return moment
        return None

    def _has_day(self, moment: datetime) -> bool:
        of_month, of_week = moment.day in self.days, (moment.weekday() + 1) % 7 in self.weekdays
        return of_month or of_week if self.either else of_month and of_week


def _numbers(text: str, part: str, name: str, least: int, most: int, known: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for entry in part.split(","):
        span, slash, step = entry.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            low, high = least, most
        else:
            low = _number(text, first, name, known)
            high = _number(text, last, name, known) if dash else (most if slash else low)
        width = _number(text, step, name, {}) if slash else 1
        if not least <= low <= high <= most or width < 1:
            raise bad_schedule(text, f'the {name} "{entry[:20]}" is not within {least} to {most}')
        found.update(range(low, high + 1, width))
    return frozenset(found)


def _number(text: str, word: str, name: str, known: dict[str, int]) -> int:
    if word in known:
        return known[word]
    if not word.isascii() or not word.isdecimal() or len(word) > 4:
        raise bad_schedule(text, f'the {name} has "{word[:20]}", which is no number')
    return int(word)
