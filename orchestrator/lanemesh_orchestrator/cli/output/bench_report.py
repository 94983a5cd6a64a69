"""The measurements of `lanemesh bench`, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lanemesh.faults import Fault

from lanemesh_orchestrator.cli.output.histogram import Histogram

PERCENTILES = (50, 90, 99)
MAX_REASONS = 100
"""Most reasons of failures that are listed; failures of further ones are counted together."""
_MAX_MESSAGE = 200
_NANOSECONDS = 1_000_000_000


@dataclass(slots=True)
class Failures:
    """The failed requests with one reason."""

    fault: Fault
    """The fault of the first one."""
    count: int = 0


@dataclass(slots=True)
class Measurements:
    """What was measured so far. The first item and the whole count from the call of `request`; times are in nanoseconds."""

    first: Histogram = field(default_factory=Histogram)
    """Time to the first item, of each request that returned one."""
    whole: Histogram = field(default_factory=Histogram)
    """Time to the end, of each request that completed."""
    between: Histogram = field(default_factory=Histogram)
    """Time from each item of a request to its next one."""
    items: int = 0
    """Items of all requests."""
    sent: int = 0
    """Requests so far, with those under way."""
    elapsed: int = 0
    """Duration of the measurement."""
    failures: dict[str, Failures] = field(default_factory=dict)
    """The failed requests, by their reasons."""

    def failed(self, fault: Fault) -> None:
        """Counts a failed request."""
        known = fault.reason in self.failures or len(self.failures) < MAX_REASONS
        self.failures.setdefault(fault.reason if known else "other", Failures(fault)).count += 1

    @property
    def completed(self) -> int:
        """Number of completed requests."""
        return self.whole.count

    @property
    def failed_count(self) -> int:
        """Number of failed requests."""
        return sum(failures.count for failures in self.failures.values())

    @property
    def unfinished(self) -> int:
        """Number of requests that are under way, or were cancelled when the measurement was interrupted."""
        return self.sent - self.completed - self.failed_count

    def rate(self, count: int) -> float:
        """How many of something there were in a second."""
        return count * _NANOSECONDS / self.elapsed if self.elapsed else 0.0


def table(found: Measurements) -> Iterator[str]:
    """The measurements for people, line by line."""
    yield f"{'':<16}{'number':>12}{'per second':>12}"
    yield f"{'requests':<16}{found.completed:>12,}{number(found.rate(found.completed)):>12}"
    yield f"{'items':<16}{found.items:>12,}{number(found.rate(found.items)):>12}"
    yield ""
    heads = [*(f"p{percent}" for percent in PERCENTILES), "max"]
    yield f"{'milliseconds':<16}{''.join(f'{head:>12}' for head in heads)}"
    for name, times in (("first item", found.first), ("whole request", found.whole), ("between items", found.between)):
        cells = [times.percentile(percent) for percent in (*PERCENTILES, 100)]
        yield f"{name:<16}{''.join(f'{_milliseconds(cell):>12}' for cell in cells)}"
    if found.unfinished:
        yield f"\n{found.unfinished:,} unfinished, because the measurement was interrupted"
    if found.failures:
        yield f"\n{found.failed_count:,} failed"
    for reason, failures in _by_number(found):
        yield f"{failures.count:>12,}  {reason}: {_line(failures.fault.message)}"


def to_json(found: Measurements) -> dict[str, Any]:
    """The measurements as JSON; times are in seconds."""
    return {
        "seconds": found.elapsed / _NANOSECONDS,
        "completed": found.completed,
        "failed": found.failed_count,
        "unfinished": found.unfinished,
        "requests_per_second": found.rate(found.completed),
        "items": found.items,
        "items_per_second": found.rate(found.items),
        "first_item": _times(found.first),
        "whole_request": _times(found.whole),
        "between_items": _times(found.between),
        "failures": [
            {
                "reason": reason,
                "count": failures.count,
                "code": failures.fault.code.name,
                "message": failures.fault.message,
            }
            for reason, failures in _by_number(found)
        ],
    }


def number(value: float) -> str:
    """A measured number with three significant digits, or all before its point: `0.0213`, `2.13`, `21.3`, `2,130`."""
    if value == 0:
        return "0"
    whole_digits = len(str(int(value))) if value >= 1 else 0
    decimals = max(0, 3 - whole_digits) if value >= 0.1 else 4
    return f"{value:,.{decimals}f}"


def _milliseconds(nanoseconds: float | None) -> str:
    return "-" if nanoseconds is None else number(nanoseconds / 1_000_000)


def _times(times: Histogram) -> dict[str, float | int | None]:
    found: dict[str, float | int | None] = {"count": times.count, "mean": _seconds(times.mean)}
    found |= {f"p{percent}": _seconds(times.percentile(percent)) for percent in PERCENTILES}
    return found | {"max": _seconds(times.percentile(100))}


def _seconds(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / _NANOSECONDS


def _by_number(found: Measurements) -> list[tuple[str, Failures]]:
    return sorted(found.failures.items(), key=lambda entry: (-entry[1].count, entry[0]))


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_MESSAGE else f"{line[: _MAX_MESSAGE - 1]}…"
