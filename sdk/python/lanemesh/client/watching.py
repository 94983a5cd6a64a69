"""A detached run over gRPC: a broken `WatchRun` is called again, from the update after the last received one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TYPE_CHECKING

import grpc.aio

from lanemesh._aio.backoff import Backoff
from lanemesh._grpc.status import fault_of
from lanemesh.client.calls import call_fault, cancel_run, decide_approval, push_input
from lanemesh.faults import LanemeshError
from lanemesh.text_outputs import Entry, last_of, merged
from lanemesh.v1 import run_pb2

if TYPE_CHECKING:
    from lanemesh.v1 import run_pb2_grpc

ATTEMPTS = 8
"""Number of further calls of a broken `WatchRun`; a received frame resets the count."""
FIRST_PAUSE = 0.1
"""Limit of the pause before the second of these attempts, in seconds; doubled before each further one."""
MAX_PAUSE = 5.0
"""Longest pause between two attempts, in seconds; all of them take 6 to 11 s."""

_BROKEN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})
"""Status codes of a call that was cut: by its peer, or by a proxy."""


class GrpcDetachedLink:
    """The link to a run on a remote orchestrator."""

    def __init__(self, stub: Callable[[], run_pb2_grpc.RunServiceAsyncStub], run_id: str, address: str) -> None:
        """`stub` returns the stub of a connection that is not known to be gone."""
        self._stub = stub
        self._run_id = run_id
        self._address = address

    async def batches(self, from_sequence: int) -> AsyncGenerator[Sequence[Entry] | run_pb2.Gap, None]:
        """Its updates from a number on, each once, even if the connection breaks, within the bound."""
        wanted, failed = max(1, from_sequence), 0
        backoff = Backoff(FIRST_PAUSE, MAX_PAUSE)
        while True:
            call = self._stub().WatchRun(
                run_pb2.WatchRunRequest(run_id=self._run_id, from_sequence=wanted, text_outputs=True)
            )
            try:
                async for response in call:
                    failed = 0
                    backoff.reset()
                    if response.HasField("gap"):
                        wanted = response.gap.to_sequence + 1
                        yield response.gap
                    batch = merged(response.updates, response.text_outputs)
                    if batch:
                        wanted = last_of(batch[-1]) + 1
                        yield batch
                    del batch, response  # a silent run does not hold them
                return
            except grpc.aio.AioRpcError as error:
                failed += 1
                if failed > ATTEMPTS or error.code() not in _BROKEN or fault_of(error) is not None:
                    raise LanemeshError(call_fault(error, self._address)) from None
            finally:
                call.cancel()
            if failed > 1:
                await asyncio.sleep(backoff.next())

    async def push(self, given: run_pb2.RunInput | None, *, end: bool) -> None:
        """Feeds the source of the run."""
        await push_input(self._stub(), self._run_id, given, self._address, end=end)

    async def cancel(self, reason: str) -> None:
        """Cancels the run."""
        await cancel_run(self._stub(), self._run_id, reason, self._address)

    async def decide(self, decision: run_pb2.DecideApprovalRequest) -> None:
        """Decides an approval."""
        await decide_approval(self._stub(), decision, self._address)
