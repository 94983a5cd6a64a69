"""The arbiter's metrics in the text format of Prometheus, and the small HTTP server that serves them at `/metrics`."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import gpu_pb2

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_SECONDS = 5.0
"""How long a client may take for its request."""
MAX_REQUEST = 8192
"""Most bytes of a request."""
MAX_CONNECTIONS = 16
"""Most requests at a time; further ones are closed at once."""

log = logging.getLogger("lanemesh.gpu")

Labels = Mapping[str, str]


@dataclass(slots=True)
class ArbiterCounts:
    """What an arbiter has decided since its start."""

    grants: Counter[str] = field(default_factory=Counter)
    """By device. A resumed lease counts again."""
    resident_grants: Counter[str] = field(default_factory=Counter)
    """Those whose model was loaded already."""
    unloads: Counter[str] = field(default_factory=Counter)
    """Models that were to be unloaded, by device."""
    offloads: Counter[str] = field(default_factory=Counter)
    """Models that were to be offloaded to host memory, by device."""
    ended: Counter[str] = field(default_factory=Counter)
    """Leases and requests by the reason of their end, such as "released" or "wait-timeout"."""
    waited_seconds: float = 0.0
    """Of all grants together."""


def metrics_text(counts: ArbiterCounts, statuses: list[gpu_pb2.DeviceStatus], waiting: int) -> str:
    """The metrics of an arbiter.

    Args:
        counts: what it has decided.
        statuses: its devices.
        waiting: the number of requests in its queue.
    """
    lines = [
        *_metric("capacity_bytes", "gauge", "Memory of the device.", _capacities(statuses)),
        *_metric("memory_bytes", "gauge", "Memory of the device by its use.", _memory(statuses)),
        *_metric("leases", "gauge", "Leases of the device, by state.", _leases(statuses)),
        *_metric("models", "gauge", "Models that are loaded on the device.", _models(statuses)),
        *_metric("waiting_requests", "gauge", "Requests in the queue.", [({}, waiting)]),
        *_metric("grants_total", "counter", "Grants of the device.", _by_device(counts.grants)),
        *_metric(
            "resident_grants_total", "counter", "Grants with the model loaded.", _by_device(counts.resident_grants)
        ),
        *_metric("unloads_total", "counter", "Models that were unloaded for others.", _by_device(counts.unloads)),
        *_metric("offloads_total", "counter", "Models that were offloaded for others.", _by_device(counts.offloads)),
        *_metric(
            "leases_ended_total",
            "counter",
            "Leases and requests by the reason of their end.",
            [({"reason": reason}, count) for reason, count in sorted(counts.ended.items())],
        ),
        *_metric(
            "wait_seconds_total", "counter", "Time that granted requests have waited.", [({}, counts.waited_seconds)]
        ),
    ]
    return "\n".join(lines) + "\n"


def _capacities(statuses: list[gpu_pb2.DeviceStatus]) -> list[tuple[Labels, float]]:
    return [({"device": status.device.id}, status.device.memory_bytes) for status in statuses]


def _memory(statuses: list[gpu_pb2.DeviceStatus]) -> list[tuple[Labels, float]]:
    uses = ("free", "leased", "models", "lingering", "excess", "foreign")
    return [
        ({"device": status.device.id, "use": use}, getattr(status.memory, use)) for status in statuses for use in uses
    ]


def _leases(statuses: list[gpu_pb2.DeviceStatus]) -> list[tuple[Labels, float]]:
    states = {gpu_pb2.LEASE_STATE_HELD: "held", gpu_pb2.LEASE_STATE_YIELDED: "yielded"}
    return [
        ({"device": status.device.id, "state": name}, sum(lease.state == state for lease in status.leases))
        for status in statuses
        for state, name in states.items()
    ]


def _models(statuses: list[gpu_pb2.DeviceStatus]) -> list[tuple[Labels, float]]:
    return [({"device": status.device.id}, len(status.models)) for status in statuses]


def _by_device(counted: Counter[str]) -> list[tuple[Labels, float]]:
    return [({"device": device}, count) for device, count in sorted(counted.items())]


def _metric(name: str, kind: str, about: str, values: list[tuple[Labels, float]]) -> Iterator[str]:
    yield f"# HELP lanemesh_gpu_{name} {about}"
    yield f"# TYPE lanemesh_gpu_{name} {kind}"
    for labels, value in values:
        inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        yield f"lanemesh_gpu_{name}{f'{{{inner}}}' if inner else ''} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class MetricsServer:
    """Serves metrics at `/metrics` over HTTP."""

    def __init__(self, read: Callable[[], str]) -> None:
        """`read` returns the metrics now."""
        self._read = read
        self._server: asyncio.Server | None = None
        self._open = 0

    async def start(self, host: str, port: int) -> str:
        """Starts it, and returns its address, "host:port"; port 0 takes a free one.

        Raises:
            LanemeshError: the address cannot be bound.
        """
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=MAX_REQUEST)
        except OSError as error:
            message = f"The metrics cannot be served at {host}:{port}: {error.strerror}. Use another --metrics port."
            raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="port-in-use", message=message)) from None
        return f"{host}:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stops it."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MAX_CONNECTIONS:
                async with asyncio.timeout(REQUEST_SECONDS):
                    request = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._response(request))
                    await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # the client has not sent a request, or does not take the response
        finally:
            self._open -= 1
            writer.close()

    def _response(self, request: bytes) -> bytes:
        method, _, rest = request.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path != b"/metrics":
            return _http("404 Not Found", "The metrics are at /metrics.\n")
        if method != b"GET":
            return _http("405 Method Not Allowed", "Send GET.\n")
        return _http("200 OK", self._read())


def _http(status: str, text: str) -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
