"""`timer`: sends data at certain times."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo, available_timezones

from lanemesh import Context, Inputs, Json, Node, Out, Outputs, Question
from pydantic import BaseModel, Field, JsonValue, field_validator, model_validator

from lanemesh_services.file.errors import BadSchedule
from lanemesh_services.file.schedule import Schedule

MAX_SLEEP = 3600.0
"""Longest single wait in seconds, after which the clock is read again: it may have been set."""


class Timer(Node):
    """Sends data every so many seconds, or at the times of a schedule: for pipelines that start by themselves.

    A time that comes while a consumer has no capacity is left out. Without `data` and `text` it sends the number of the tick and
    the time.
    """

    feeds_itself: ClassVar = True

    class Config(BaseModel):
        """Settings of the times."""

        every: float | None = Field(None, ge=0.01, le=31_622_400, description="Seconds between two ticks.")
        cron: str = Field(
            "",
            max_length=200,
            description='Times in place of `every`: minute, hour, day of month, month, day of week, such as "30 6 * * 1-5".',
        )
        timezone: str = Field("UTC", max_length=100, description='Time zone of `cron`, such as "Europe/Berlin".')
        count: int | None = Field(None, ge=1, description="Number of ticks after which it ends; null: it does not end.")
        at_once: bool = Field(True, description="With `every`, the first tick is at the start of the run.")
        data: JsonValue = Field(None, description='What is sent as data; null: {"number": 1, "time": "..."}.')
        text: str = Field(
            "", max_length=100_000, description="What is sent as text and as a question; empty: the time."
        )

        @field_validator("timezone")
        @classmethod
        def _is_known(cls, name: str) -> str:
            if name not in available_timezones():
                raise ValueError('is not a time zone, such as "Europe/Berlin"')
            return name

        @model_validator(mode="after")
        def _has_times(self) -> Any:
            if (self.every is None) == (not self.cron):
                raise ValueError("needs either every or cron")
            if self.cron:
                _check(self.cron)
            return self

    data: Out[Json]
    text: Out[str]
    questions: Out[Question]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Sends a tick at each of its times."""
        ticks = _Ticks(self.config)
        number = 0
        while self.config.count is None or number < self.config.count:
            await ticks.wait()
            number += 1
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            own = {"number": number, "time": now} if self.config.data is None else self.config.data
            text = self.config.text or now
            values = {"data": own, "text": text, "questions": Question(text)}
            sent = [await outputs.emit(port, values[port]) for port in values if port in context.connected_outputs]
            if not any(sent):
                return
            if missed := ticks.skip():
                context.log.warning("%d ticks were left out, because the consumers were busy", missed)


class _Ticks:
    """The times at which a timer ticks."""

    def __init__(self, config: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._every = config.every
        self._schedule = Schedule.parse(config.cron) if config.cron else None
        self._zone = ZoneInfo(config.timezone)
        self._next = self._loop.time() + (0.0 if config.at_once or self._every is None else self._every)
        self._moment = datetime.now(self._zone)

    async def wait(self) -> None:
        """Waits for the next time."""
        if self._schedule is None:
            await asyncio.sleep(max(0.0, self._next - self._loop.time()))
            self._next += self._every
            return
        moment = self._schedule.after(self._moment)
        while moment is not None:
            left = (moment - datetime.now(self._zone)).total_seconds()
            if left <= 0:
                break
            await asyncio.sleep(min(left, MAX_SLEEP))
        self._moment = moment or self._moment

    def skip(self) -> int:
        """Leaves out the times that have passed. Returns their number."""
        if self._schedule is None:
            missed = max(0, int((self._loop.time() - self._next) // self._every))
            self._next += missed * self._every
            return missed
        missed, now = 0, datetime.now(self._zone)
        while (following := self._schedule.after(self._moment)) is not None and following < now - timedelta(minutes=1):
            self._moment = following
            missed += 1
        return missed


def _check(cron: str) -> None:
    """Raises ValueError if a schedule is not valid."""
    try:
        Schedule.parse(cron)
    except BadSchedule as error:
        raise ValueError(error.fault.message) from None
