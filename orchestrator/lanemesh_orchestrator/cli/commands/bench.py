"""`lanemesh bench`: many requests to one pipeline, their rates and percentiles."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lanemesh._aio.exits import run as run_main
from lanemesh.faults import LanemeshError
from lanemesh.values import Answer

from lanemesh_orchestrator.cli.commands.run import find_source
from lanemesh_orchestrator.cli.exits import ExitCode, InvalidPipeline
from lanemesh_orchestrator.cli.input.documents import PipelineFile, parse_settings, pipeline_of
from lanemesh_orchestrator.cli.input.encoding import json_text
from lanemesh_orchestrator.cli.input.hosts import HostOptions, open_host
from lanemesh_orchestrator.cli.input.inputs import InputOptions
from lanemesh_orchestrator.cli.interrupts import Interrupts
from lanemesh_orchestrator.cli.output.bench_report import Measurements, table, to_json
from lanemesh_orchestrator.cli.output.faults import is_warning

if TYPE_CHECKING:
    from lanemesh.client.requests import Request
    from lanemesh.client.run_host import RunHost

DEFAULT_REQUESTS = 1_000
"""Number of requests, if neither it nor a duration is given."""
DEFAULT_INPUT = "hello"
"""The input, if none is given and the pipeline has a source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """The options of `bench`."""

    pipe: str
    """The pipeline's file, or the name of a deployed one, as "@chat"."""
    text: str | None = None
    """`--input`."""
    concurrency: int = 10
    """`--concurrency`: requests at a time."""
    requests: int | None = None
    """`--requests`: how many there are."""
    duration: float | None = None
    """`--duration`: after so many seconds no further request is sent."""
    warmup: int = 1
    """`--warmup`: requests before the measurement."""
    timeout: float | None = None
    """`--timeout` of each request, in seconds."""
    settings: Sequence[str] = ()
    """`--set`."""
    source: str = ""
    """`--source`."""
    host: HostOptions = field(default_factory=HostOptions)
    """`--spread`, `--mesh`, `--nodes`."""
    json: bool = False
    """`--json`."""


def bench(options: BenchOptions) -> ExitCode:
    """Measures a pipeline and prints the result. Returns FAILED if a request failed, INTERRUPTED after Ctrl-C.

    Raises:
        CommandError: the pipeline is invalid, or accepts no input.
        LanemeshError: the orchestrator cannot be reached, or has no such deployed pipeline.
    """
    return run_main(_main(options))


async def _main(options: BenchOptions) -> ExitCode:
    pipeline = await pipeline_of(options.pipe, options.host)
    settings = parse_settings(options.settings)
    with Interrupts() as interrupts:
        try:
            async with open_host(options.host) as host:
                load = await _load(options, host, pipeline, settings)
                await load.warm_up(host)
                print(f"measuring {_words(options)}; Ctrl-C ends it early", file=sys.stderr)
                interrupts.cancel = load.stop
                try:
                    await load.run(host)
                finally:
                    _print(options, load.found)
                    await load.close()
        except asyncio.CancelledError:
            if not interrupts.interrupted:
                raise
    if interrupts.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.FAILED if load.found.failures or load.cold else ExitCode.COMPLETED


async def _load(options: BenchOptions, host: RunHost, pipeline: PipelineFile, settings: Mapping[str, Any]) -> Load:
    """The load on a valid pipeline. Raises `CommandError` if it is invalid, or accepts no input and there is one."""
    faults = await host.validate(
        pipeline.document, settings=settings, variables=pipeline.variables, source=options.source
    )
    if any(not is_warning(fault) for fault in faults):
        raise InvalidPipeline(pipeline.name, pipeline.text, faults)
    source = await find_source(
        host,
        pipeline,
        dict(settings),
        InputOptions(texts=() if options.text is None else (options.text,)),
        options.source,
    )
    text = options.text if options.text is not None or source is None else DEFAULT_INPUT
    return Load(options, pipeline, settings, text)


def _words(options: BenchOptions) -> str:
    count, seconds = _count(options), options.duration
    parts = [f"{count:,} request{'' if count == 1 else 's'}"] if count is not None else ["requests"]
    parts += [f"for {seconds:g} s"] if seconds is not None else []
    return f"{' '.join(parts)}, {options.concurrency:,} at a time"


def _count(options: BenchOptions) -> int | None:
    return DEFAULT_REQUESTS if options.requests is None and options.duration is None else options.requests


def _print(options: BenchOptions, found: Measurements) -> None:
    if options.json:
        about = {"pipeline": options.pipe, "concurrency": options.concurrency, "warmup": options.warmup}
        print(json_text(about | to_json(found), indent=2), flush=True)
        return
    print("\n".join(table(found)), flush=True)


class Load:
    """Requests to one pipeline, a number of them at a time: each worker sends its next one when its last one has ended."""

    def __init__(
        self, options: BenchOptions, pipeline: PipelineFile, settings: Mapping[str, Any], text: str | None
    ) -> None:
        """`text` is the input of each request; None: none."""
        self.found = Measurements()
        self.cold = 0
        """Number of failed requests of the warm-up."""
        self._options = options
        self._pipeline = pipeline
        self._settings = settings
        self._text = text
        self._left = _count(options)
        """Number of requests that are still to be sent; None: until the end of the duration."""
        self._begun = 0
        self._workers: list[asyncio.Task[None]] = []

    async def warm_up(self, host: RunHost) -> None:
        """Sends the requests of the warm-up, one after the other. The first failure is reported on standard error."""
        for _ in range(self._options.warmup):
            try:
                await self.request(host).all()
            except LanemeshError as error:
                if not self.cold:
                    print(f"warning: a request of the warm-up failed: {error.fault.message}", file=sys.stderr)
                self.cold += 1

    def request(self, host: RunHost) -> Request:
        """One request, which has not started."""
        return host.request(
            self._pipeline.document,
            self._text,
            settings=self._settings,
            timeout=self._options.timeout,
            variables=self._pipeline.variables,
            source=self._options.source,
        )

    async def run(self, host: RunHost) -> None:
        """Sends all requests and measures them. Raises what is no fault of a request."""
        self._begun = time.perf_counter_ns()
        number = self._options.concurrency if self._left is None else min(self._options.concurrency, self._left)
        self._workers = [asyncio.create_task(self._work(host), name="bench requests") for _ in range(number)]
        try:
            await asyncio.wait(self._workers, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            await self.stop()
        for worker in self._workers:
            if worker.done() and not worker.cancelled():
                worker.result()

    async def stop(self) -> None:
        """Ends the measurement, and cancels what is under way."""
        self._left = 0
        self.found.elapsed = self.found.elapsed or time.perf_counter_ns() - self._begun
        for worker in self._workers:
            worker.cancel()

    async def close(self) -> None:
        """Waits for the end of what was cancelled."""
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _work(self, host: RunHost) -> None:
        while self._next():
            self.found.sent += 1
            try:
                await self._measure(host)
            except LanemeshError as error:
                self.found.failed(error.fault)

    def _next(self) -> bool:
        """Whether another request is to be sent; it is counted."""
        seconds = self._options.duration
        if self._left == 0 or (seconds is not None and time.perf_counter_ns() - self._begun >= seconds * 1_000_000_000):
            return False
        if self._left is not None:
            self._left -= 1
        return True

    async def _measure(self, host: RunHost) -> None:
        """Sends one request and reads its items as they arrive."""
        found, clock = self.found, time.perf_counter_ns
        begun, last = clock(), 0
        async with self.request(host) as request:
            async for output in request.outputs():
                if isinstance(output.value, Answer) and not output.value.text and output.value.data is None:
                    continue  # the end of an answer, which has the finish reason
                now = clock()
                if last:
                    found.between.add(now - last)
                else:
                    found.first.add(now - begun)
                last = now
                found.items += 1
        found.whole.add(clock() - begun)
