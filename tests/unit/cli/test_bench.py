"""The load of `lanemesh bench`, and how its measurements are printed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from lanemesh import Answer, Code, Fault, LanemeshError, Mesh
from lanemesh_orchestrator.cli.commands.bench import BenchOptions, Load
from lanemesh_orchestrator.cli.input.documents import PipelineFile
from lanemesh_orchestrator.cli.output.bench_report import MAX_REASONS, Measurements, number, table, to_json


class Output:
    def __init__(self, value: Any) -> None:
        self.value = value


class Request:
    """A request that returns these values, or raises."""

    def __init__(self, host: Host, values: list[Any], error: Exception | None) -> None:
        self._host = host
        self._values = values
        self._error = error

    async def __aenter__(self) -> Request:
        self._host.open += 1
        self._host.most = max(self._host.most, self._host.open)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._host.open -= 1

    async def outputs(self) -> Any:
        await asyncio.sleep(0)
        for value in self._values:
            yield Output(value)
        await self._host.gate.wait()
        if self._error is not None:
            raise self._error


class Host:
    """Answers requests."""

    def __init__(self, values: list[Any], errors: dict[int, Exception] | None = None) -> None:
        self.given: list[tuple[Any, ...]] = []
        self.open = self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._values = values
        self._errors = errors or {}

    def request(self, pipeline: Any, given: Any, **options: Any) -> Request:
        self.given.append((given, options["settings"], options["timeout"]))
        return Request(self, self._values, self._errors.get(len(self.given)))


def load(text: str | None = "x", **options: Any) -> Load:
    return Load(BenchOptions(pipe="a.pipe", **options), PipelineFile("a.pipe", "{}"), {"a.b": 1}, text)


def fault(reason: str, message: str = "no") -> LanemeshError:
    return LanemeshError(Fault(code=Code.UNAVAILABLE, reason=reason, message=message))


async def run(load: Load, host: Host) -> Measurements:
    await load.run(host)  # type: ignore[arg-type]
    await load.close()
    return load.found


@pytest.mark.conformance("REQ-06")
async def test_every_request_and_every_item_is_counted() -> None:
    host = Host(["a", "b", "c"])
    found = await run(load(concurrency=4, requests=10, timeout=5), host)
    assert (found.sent, found.completed, found.failed_count, found.unfinished, found.items) == (10, 10, 0, 0, 30)
    assert (found.first.count, found.between.count, found.whole.count) == (10, 20, 10)
    assert host.given == [("x", {"a.b": 1}, 5)] * 10
    assert (host.most, host.open) == (4, 0)
    assert found.whole.most <= found.elapsed


async def test_no_more_workers_than_requests() -> None:
    host = Host(["a"])
    host.gate.clear()
    measuring = asyncio.ensure_future(run(load(concurrency=100, requests=3), host))
    for _ in range(3):
        await asyncio.sleep(0)
    assert host.open == 3
    host.gate.set()
    assert (await measuring).completed == 3


async def test_the_end_of_an_answer_is_no_item() -> None:
    found = await run(load(requests=1), Host([Answer("a"), Answer(data={"x": 1}), Answer(finish_reason="stop")]))
    assert (found.items, found.between.count) == (2, 1)


@pytest.mark.conformance("REQ-06")
async def test_failures_are_counted_by_reason_and_the_rest_goes_on() -> None:
    errors: dict[int, Exception] = {
        1: fault("no-capacity", "full"),
        3: fault("timeout"),
        4: fault("no-capacity", "again"),
    }
    found = await run(load(concurrency=2, requests=8), Host(["a"], errors))
    assert {reason: failures.count for reason, failures in found.failures.items()} == {"no-capacity": 2, "timeout": 1}
    assert found.failures["no-capacity"].fault.message == "full"
    assert (found.sent, found.completed, found.items, found.whole.count) == (8, 5, 8, 5)


async def test_what_is_no_fault_of_a_request_ends_the_measurement() -> None:
    host = Host(["a"], {2: ZeroDivisionError("a bug")})
    broken = load(requests=1_000, concurrency=3)
    with pytest.raises(ZeroDivisionError):
        await broken.run(host)  # type: ignore[arg-type]
    await broken.close()
    assert host.open == 0
    assert len(host.given) < 1_000


async def test_a_stopped_measurement_has_what_was_measured() -> None:
    host = Host(["a"])
    host.gate.clear()
    stopped = load(concurrency=5, requests=100)
    measuring = asyncio.ensure_future(run(stopped, host))
    while stopped.found.items < 5:  # noqa: ASYNC110 - of the workers
        await asyncio.sleep(0)
    await stopped.stop()
    found = await measuring
    assert (found.sent, found.completed, found.unfinished, found.items, found.first.count) == (5, 0, 5, 5, 5)
    assert found.elapsed > 0


async def test_a_duration_ends_the_sending_alone() -> None:
    assert (await run(load(duration=0.0), Host(["a"]))).sent == 0
    found = await run(load(duration=0.02, concurrency=2), Host(["a"]))
    assert found.sent == found.completed > 0
    assert (await run(load(duration=60, requests=3), Host(["a"]))).completed == 3


def measured() -> Measurements:
    found = Measurements(elapsed=2_000_000_000, items=4, sent=9)
    for milliseconds in (1, 2, 3, 400):
        found.first.add(milliseconds * 1_000_000)
        found.whole.add(milliseconds * 2_000_000)
    found.failed(Fault(code=Code.RESOURCE_EXHAUSTED, reason="no-capacity", message="1,000 runs\nwait " + "x" * 500))
    found.failed(Fault(code=Code.RESOURCE_EXHAUSTED, reason="no-capacity", message="another"))
    found.failed(Fault(code=Code.DEADLINE_EXCEEDED, reason="timeout", message="late"))
    return found


def test_the_table_has_every_number() -> None:
    lines = "\n".join(table(measured())).split("\n")
    assert lines[:9] == [
        "                      number  per second",
        "requests                   4        2.00",
        "items                      4        2.00",
        "",
        "milliseconds             p50         p90         p99         max",
        "first item              2.00         400         400         400",
        "whole request           4.00         800         800         800",
        "between items              -           -           -           -",
        "",
    ]
    assert lines[9:13] == ["2 unfinished, because the measurement was interrupted", "", "3 failed", lines[12]]
    assert lines[12].startswith("           2  no-capacity: 1,000 runs wait xxx")
    assert lines[12].endswith("…")
    assert lines[13:] == ["           1  timeout: late"]


def test_json_has_seconds() -> None:
    found = json.loads(json.dumps(to_json(measured())))
    assert found["whole_request"]["max"] == 0.8
    assert found["whole_request"]["p50"] == pytest.approx(0.004, rel=0.002)
    assert found["between_items"] == {"count": 0, "mean": None, "p50": None, "p90": None, "p99": None, "max": None}
    assert (found["seconds"], found["requests_per_second"], found["completed"], found["failed"]) == (2.0, 2.0, 4, 3)
    assert [(one["reason"], one["count"], one["code"]) for one in found["failures"]] == [
        ("no-capacity", 2, "RESOURCE_EXHAUSTED"),
        ("timeout", 1, "DEADLINE_EXCEEDED"),
    ]


def test_reasons_are_bounded_and_every_failure_is_counted() -> None:
    found = Measurements()
    for index in range(MAX_REASONS + 50):
        found.failed(Fault(code=Code.UNKNOWN, reason=f"reason-{index}", message="no"))
    assert (len(found.failures), found.failed_count) == (MAX_REASONS + 1, MAX_REASONS + 50)
    assert found.failures["other"].count == 50


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.00213, "0.0021"),
        (0.213, "0.213"),
        (2.134, "2.13"),
        (21.34, "21.3"),
        (213.4, "213"),
        (2134, "2,134"),
    ],
)
def test_a_number_has_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown


async def test_it_measures_a_mesh() -> None:
    pipe = json.dumps(
        {
            "components": [
                {"id": "chat_1", "provider": "chat"},
                {"id": "out_1", "provider": "response", "input": [{"lane": "text", "from": "chat_1"}]},
            ]
        }
    )
    real = Load(BenchOptions(pipe="a.pipe", concurrency=3, requests=7), PipelineFile("a.pipe", pipe), {}, "x")
    async with Mesh() as mesh:
        await real.run(mesh)
        await real.close()
    assert (real.found.completed, real.found.items, real.found.failures) == (7, 7, {})
