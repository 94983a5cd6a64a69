"""Replays a trace of requests with the arbiter's decisions, in simulated time: what they wait, and how often models are loaded.

For comparison: the same in strict order (FIFO), and on small traces the least number of loads that any order has which lets no
request be passed more often than the arbiter does.
"""

from __future__ import annotations

import heapq
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.gpu.core import ArbiterCore, Frames
from lanemesh.gpu.devices import parse_devices, size_of
from lanemesh.gpu.queue_pass import MAX_BYPASS
from lanemesh.times import duration
from lanemesh.v1 import gpu_pb2

FOREVER = 1e6
"""The wait time-out of simulated requests, in seconds."""
MAX_REQUESTS = 100_000
"""Longest trace."""
MAX_STATES = 20_000
"""Most states at a time of the search for the optimum, which is given up above that."""
MAX_OPTIMUM = 100
"""Longest trace whose optimum is searched by the command line."""
WINDOW = 16
"""How many requests wait at a time, if a trace gives no times."""


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One request of a trace."""

    model: str
    memory: int
    """Bytes of the model; without a model those that stay allocated."""
    peak: int
    """Most bytes at a time."""
    seconds: float
    """How long the work takes, without the load."""
    at: float | None = None
    """When it comes, in seconds; None: when an earlier one has ended, so that 16 wait or work at a time."""
    reload: float = 1.0
    """How long the model loads."""
    unload: float = 0.1
    """How long it unloads."""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """Devices and requests."""

    devices: Sequence[gpu_pb2.Device]
    requests: Sequence[TraceRequest]

    @classmethod
    def parse(cls, text: str) -> Trace:
        """Reads a trace: JSON with `devices` ("sim:0=24GiB"), and `requests` or an `order` of `models`.

        Raises:
            LanemeshError: it is no such trace.
        """
        try:
            document = json.loads(text)
            devices = parse_devices(document["devices"])
            models = {name: dict(values) for name, values in document.get("models", {}).items()}
            entries = document.get("requests") or [{"model": name} for name in document["order"]]
            requests = [
                _request(entry, models) for entry in entries * int(document.get("repeat", 1)) if isinstance(entry, dict)
            ]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            what = f"{type(error).__name__}: {error}"
            message = f"The trace is invalid ({what}). It is JSON with devices, and requests or an order of models: docs/gpu.md"
            raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-trace", message=message)) from None
        if not 0 < len(requests) <= MAX_REQUESTS:
            message = f"The trace has {len(requests)} requests; it must have 1 to {MAX_REQUESTS:,}."
            raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-trace", message=message))
        return cls(devices, requests)


def _request(entry: dict[str, Any], models: dict[str, dict[str, Any]]) -> TraceRequest:
    values = {**models.get(entry.get("model", ""), {}), **entry}
    memory = size_of(values.get("memory", 0))
    known = {name: values[name] for name in ("at", "reload", "unload", "priority") if name in values}
    return TraceRequest(
        model=str(values.get("model", "")),
        memory=memory,
        peak=size_of(values.get("peak", 0)) or memory,
        seconds=float(values.get("seconds", 1.0)),
        **known,
    )


@dataclass(slots=True)
class Replay:
    """What came of a trace."""

    waits: list[float] = field(default_factory=list)
    """Seconds that each request waited for its lease."""
    loads: int = 0
    """How often a model was loaded."""
    unloads: int = 0
    refused: int = 0
    """Requests that no device can serve."""
    ended: float = 0.0
    """When the last one had ended, in seconds."""
    worked: float = 0.0
    """Seconds of work, without loads, of all requests together."""

    def wait_at(self, part: float) -> float:
        """The wait that this part of the requests does not exceed."""
        ordered = sorted(self.waits)
        return ordered[min(int(part * len(ordered)), len(ordered) - 1)] if ordered else 0.0


class Simulation:
    """One replay."""

    def __init__(self, trace: Trace, *, max_bypass: int = MAX_BYPASS) -> None:
        """`max_bypass`: how many later requests may pass one; 0: strict order."""
        self._trace = trace
        self._core = ArbiterCore(trace.devices, max_bypass=max_bypass)
        self._events: list[tuple[float, int, str, str]] = []
        self._numbers = iter(range(1 << 62))
        self._asked: dict[str, tuple[TraceRequest, float]] = {}
        self._begun: set[str] = set()
        self._coming: deque[TraceRequest] = deque()
        self.replay = Replay()

    def run(self) -> Replay:
        """Replays the trace to its end."""
        self._coming.extend(each for each in self._trace.requests if each.at is None)
        timed = [each for each in self._trace.requests if each.at is not None]
        arrivals = {str(number): each for number, each in enumerate(timed)}
        for name, each in arrivals.items():
            self._push(each.at or 0.0, "arrive", name)
        for _ in range(min(WINDOW, len(self._coming))):
            self._next(0.0)
        while self._events:
            deadline = self._core.next_deadline()
            if deadline is not None and deadline < self._events[0][0]:
                self._take(deadline, self._core.tick(deadline))
                continue
            now, _, kind, name = heapq.heappop(self._events)
            if kind == "arrive":
                self._ask(now, arrivals[name])
            elif kind == "done":
                self._end(now, name)
            else:
                self.replay.unloads += 1
                self._take(now, self._core.release(now, name))
        return self.replay

    def _push(self, when: float, kind: str, name: str) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), kind, name))

    def _next(self, now: float) -> None:
        if self._coming:
            self._ask(now, self._coming.popleft())

    def _ask(self, now: float, asked: TraceRequest) -> None:
        lease = f"lease {next(self._numbers)}"
        request = gpu_pb2.LeaseAcquire(
            memory_bytes=asked.memory,
            peak_bytes=asked.peak,
            model=asked.model,
            owner="trace",
            reload_time=duration(asked.reload),
            priority=asked.priority,
            wait_timeout=duration(FOREVER),
        )
        self._asked[lease] = asked, now
        try:
            self._take(now, self._core.acquire(now, lease, request, local=True))
        except LanemeshError:
            self.replay.refused += 1
            self._next(now)

    def _take(self, now: float, frames: Frames) -> None:
        for lease, frame in frames:
            if frame.HasField("granted") and lease not in self._begun:
                self._begun.add(lease)
                asked, asked_at = self._asked[lease]
                self.replay.waits.append(now - asked_at)
                self.replay.worked += asked.seconds
                load = 0.0
                if asked.model and not frame.granted.shares[0].resident:
                    self.replay.loads += 1
                    load = asked.reload
                self._push(now + load + asked.seconds, "done", lease)
            elif frame.HasField("unload"):
                self._push(now + self._asked[lease][0].unload, "unloaded", lease)

    def _end(self, now: float, lease: str) -> None:
        asked, _ = self._asked[lease]
        self.replay.ended = now
        size = asked.memory if asked.model else 0
        self._take(now, self._core.release(now, lease, resident_bytes=size))
        self._next(now)


def fewest_loads(trace: Trace, max_bypass: int = MAX_BYPASS, window: int = WINDOW) -> int | None:
    """The least number of loads on one device in any order of the requests.

    Requests of a model keep their order. Of `window` requests that wait at a time, the first one may be passed by `max_bypass`
    later ones. Idle models may be unloaded at any time. Nothing is assumed of times, so no arbiter can do better.

    Returns:
        The number; None: there are several devices, or the search is too large.
    """
    if len(trace.devices) != 1:
        return None
    capacity = trace.devices[0].memory_bytes
    requests = [each for each in trace.requests if each.model and each.peak <= capacity]
    positions: dict[str, list[int]] = {}
    for number, each in enumerate(requests):
        positions.setdefault(each.model, []).append(number)
    names, sizes = list(positions), {each.model: each.memory for each in requests}
    states: dict[_State, int] = {((0,) * len(names), 0, frozenset()): 0}
    for served in range(len(requests)):
        following: dict[_State, int] = {}
        for (counts, passed, loaded), loads in states.items():
            heads = {
                name: positions[name][count]
                for name, count in zip(names, counts, strict=True)
                if count < len(positions[name])
            }
            first = min(heads.values())
            for index, name in enumerate(names):
                head = heads.get(name)
                if head is None or head >= served + window or (head != first and passed >= max_bypass):
                    continue
                now_passed = 0 if head == first else passed + 1
                now_counts = (*counts[:index], counts[index] + 1, *counts[index + 1 :])
                room = capacity - requests[head].peak
                for kept in _largest(loaded - {name}, sizes, room):
                    state = now_counts, now_passed, kept | {name}
                    cost = loads + (name not in loaded)
                    if cost < following.get(state, cost + 1):
                        following[state] = cost
        if len(following) > MAX_STATES:
            return None
        states = following
    return min(states.values())


_State = tuple[tuple[int, ...], int, frozenset[str]]
"""Served requests of each model, how often the first that waits was passed, and the models that are loaded."""


def _largest(models: frozenset[str], sizes: dict[str, int], room: int) -> Iterator[frozenset[str]]:
    """The sets of models that fit, of which no larger one fits."""
    found: list[frozenset[str]] = []
    for count in range(len(models), -1, -1):
        for chosen in combinations(sorted(models), count):
            some = frozenset(chosen)
            if sum(sizes[name] for name in some) <= room and not any(some <= larger for larger in found):
                found.append(some)
                yield some


def compare(trace: Trace) -> dict[str, Replay]:
    """The replays of a trace by the arbiter and in strict order."""
    return {"arbiter": Simulation(trace).run(), "FIFO": Simulation(trace, max_bypass=0).run()}


def repeated(order: Iterable[str], models: dict[str, dict[str, Any]], devices: str = "sim:0=24GiB") -> Trace:
    """A trace of an order of models."""
    return Trace(parse_devices(devices), [_request({"model": name}, models) for name in order])
