"""Calls to an orchestrator: their deadlines, and the faults of failed calls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc.aio

from lanemesh._grpc.status import fault_of
from lanemesh._grpc.tls_errors import connection_hint
from lanemesh.client.inputs import check_size
from lanemesh.client.specs import wire_text
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import MAX_MESSAGE_BYTES
from lanemesh.pipeline_faults import PipelineFault, PipelineInvalid, Severity
from lanemesh.rendering import valid_unicode
from lanemesh.v1 import run_pb2

if TYPE_CHECKING:
    from lanemesh.v1 import run_pb2_grpc

CALL_SECONDS = 30.0
"""Deadline of a short call."""
LEFT_SECONDS = 5.0
"""How long a caller that is cancelled waits for the id of a run that it starts."""

log = logging.getLogger("lanemesh.client")


async def start_run(
    stub: run_pb2_grpc.RunServiceAsyncStub,
    request: run_pb2.StartRunRequest,
    metadata: Sequence[tuple[str, str]],
    address: str,
) -> str:
    """Starts a detached run by `StartRun`; returns its id. If the caller is cancelled meanwhile, the run is cancelled: by its id if
    that arrives within 5 s, otherwise by the orchestrator, whose caller leaves. Raises LanemeshError if the call fails, or the
    request is too large."""
    check_size(request, "the request with the pipeline and all inputs")

    async def start() -> str:
        try:
            response: run_pb2.StartRunResponse = await stub.StartRun(request, timeout=CALL_SECONDS, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise LanemeshError(call_fault(error, address)) from None
        return response.run_id

    starting = asyncio.create_task(start(), name="StartRun")
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait([starting], timeout=LEFT_SECONDS)
        if starting.done() and starting.exception() is None:
            await _cancelled(stub, starting.result(), address)
        raise
    finally:
        starting.cancel()


async def _cancelled(stub: run_pb2_grpc.RunServiceAsyncStub, run_id: str, address: str) -> None:
    try:
        await cancel_run(stub, run_id, "its caller left before it had the id of the run", address)
    except LanemeshError as error:
        log.warning("run %s, whose caller has left, could not be cancelled: %s", run_id, error)


async def cancel_run(stub: run_pb2_grpc.RunServiceAsyncStub, run_id: str, reason: str, address: str) -> None:
    """Cancels a run by `CancelRun`, so that its last updates still arrive. Raises LanemeshError if the call fails."""
    request = run_pb2.CancelRunRequest(run_id=wire_text(run_id, "the id of a run"), reason=valid_unicode(reason))
    try:
        await stub.CancelRun(request, timeout=CALL_SECONDS)
    except grpc.aio.AioRpcError as error:
        raise LanemeshError(call_fault(error, address)) from None


async def push_input(
    stub: run_pb2_grpc.RunServiceAsyncStub,
    run_id: str,
    given: run_pb2.RunInput | None,
    address: str,
    *,
    end: bool = False,
    token: str = "",
) -> None:
    """Feeds a run by `PushInput`, with no deadline, because the source may be behind for any time.

    Args:
        given: the input; None: only the end.
        end: the input ends.
        token: for a run that its caller owns: the token from its `Run` call.

    Raises:
        LanemeshError: the input is too large, the run rejects it, or the orchestrator cannot be reached.
    """
    inputs = [given] if given is not None else []
    request = run_pb2.PushInputRequest(run_id=run_id, inputs=inputs, end=end, input_token=token)
    check_size(request, "an input")
    try:
        await stub.PushInput(request)
    except grpc.aio.AioRpcError as error:
        raise LanemeshError(call_fault(error, address)) from None


async def decide_approval(
    stub: run_pb2_grpc.RunServiceAsyncStub, decision: run_pb2.DecideApprovalRequest, address: str
) -> None:
    """Decides an approval by `DecideApproval`. Raises LanemeshError if no such approval is pending, or the call fails."""
    try:
        await stub.DecideApproval(decision, timeout=CALL_SECONDS)
    except grpc.aio.AioRpcError as error:
        raise LanemeshError(call_fault(error, address)) from None


async def with_faults(
    error: LanemeshError, stub: run_pb2_grpc.RunServiceAsyncStub, spec: run_pb2.RunSpec, *, for_run: bool = True
) -> LanemeshError:
    """The error of a call that runs a pipeline, or deploys it if not `for_run`. For an invalid pipeline it is a PipelineInvalid
    with every fault, because the status of a call carries only a few."""
    if error.fault.reason != "pipeline-invalid":
        return error
    request = run_pb2.ValidatePipelineRequest(spec=spec, for_run=for_run)
    try:
        response = await stub.ValidatePipeline(request, timeout=CALL_SECONDS)
    except grpc.aio.AioRpcError:
        return error
    faults = [PipelineFault.from_proto(fault) for fault in response.faults]
    return PipelineInvalid(faults) if any(fault.severity is Severity.ERROR for fault in faults) else error


def call_fault(error: grpc.aio.AioRpcError, address: str) -> Fault:
    """The fault of a failed call to an orchestrator."""
    fault = fault_of(error)
    if fault is not None:
        return fault
    code = Code(error.code().value[0])
    if code is Code.UNAVAILABLE and "http1.x server" in (error.details() or ""):
        message = (
            f"{address} is an HTTP server, not an orchestrator. Give the port of `lanemesh serve --port`, "
            "not that of the web gateway"
        )
        return Fault(code=code, reason="unreachable", message=message)
    if code is Code.UNAVAILABLE:
        hint = connection_hint(error.details()) or "Is `lanemesh serve` running there?"
        message = f"the orchestrator at {address} cannot be reached: {error.details()}. {hint}"
        return Fault(code=code, reason="unreachable", message=message)
    if code is Code.RESOURCE_EXHAUSTED and "message larger than max" in (error.details() or ""):
        message = (
            f"the orchestrator at {address} has an update that is larger than a message, which has at most {MAX_MESSAGE_BYTES:,} "
            "bytes. Let the pipeline deliver large files in pieces of a group, or media with a `uri`"
        )
        return Fault(code=code, reason="message-too-large", message=message)
    return Fault(
        code=code,
        reason="call-failed",
        message=f"the orchestrator at {address} answered {code.name}: {error.details()}",
    )
