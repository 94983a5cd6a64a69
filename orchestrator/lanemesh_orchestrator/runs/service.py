"""RunService over gRPC."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import grpc.aio
from lanemesh._grpc.first_frame import FIRST_FRAME_SECONDS, first_frame
from lanemesh._grpc.status import abort
from lanemesh._grpc.traceparent import traceparent_of
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import MAX_MESSAGE_BYTES
from lanemesh.node.context import ClientInput
from lanemesh.pipeline_faults import Severity
from lanemesh.times import seconds_of
from lanemesh.v1 import run_pb2, run_pb2_grpc

from lanemesh_orchestrator.audit import Act, audited, masked
from lanemesh_orchestrator.pipeline import Graph, PipelineFault, PipelineInvalid, run_graph_of
from lanemesh_orchestrator.pipeline.faults import listed, quoted
from lanemesh_orchestrator.runs.active_run import ActiveRun
from lanemesh_orchestrator.runs.batches import Batch
from lanemesh_orchestrator.runs.frames import Frames, fill
from lanemesh_orchestrator.runs.inputs import decode_all, is_large
from lanemesh_orchestrator.runs.link import decide
from lanemesh_orchestrator.runs.owner_call import OwnerCall
from lanemesh_orchestrator.runs.records import History, page
from lanemesh_orchestrator.runs.run_options import RunOptions
from lanemesh_orchestrator.runs.runs import Runs

if TYPE_CHECKING:
    from lanemesh_orchestrator.runs.elsewhere import Elsewhere
    from lanemesh_orchestrator.runs.idempotency import Key

Context = grpc.aio.ServicerContext[Any, Any]

MAX_OUTPUT_BYTES = MAX_MESSAGE_BYTES - 32 * 1024
"""Most bytes of one output as an update: a message less what surrounds the update in its frame."""

LEFT = "its caller left before it had the id of the run"
"""The reason of a cancellation."""


class RunService(run_pb2_grpc.RunServiceServicer):
    """Runs pipelines for clients."""

    def __init__(
        self,
        runs: Runs,
        history: History,
        elsewhere: Elsewhere,
        homes: Callable[[Graph], Awaitable[Mapping[str, str]]],
        *,
        first_frame_seconds: float = FIRST_FRAME_SECONDS,
    ) -> None:
        """Serves the runs of an orchestrator.

        Args:
            runs: the active ones.
            history: also has the records of ended ones.
            elsewhere: forwards calls for runs of other orchestrators of the store.
            homes: returns the required server of each component of a run; a spread mesh starts the missing servers.
            first_frame_seconds: time limit for the caller of `Run` to send the spec.
        """
        self._homes = homes
        self._elsewhere = elsewhere
        self._first_frame_seconds = first_frame_seconds
        self._runs = runs
        self._history = history
        self._input_tokens: WeakKeyDictionary[ActiveRun, str] = WeakKeyDictionary()
        """The tokens with which callers of `Run` may feed their runs by `PushInput`."""

    async def Run(  # type: ignore[override]
        self, request_iterator: AsyncIterator[run_pb2.RunRequest], context: Context
    ) -> None:
        """Executes one run, which its caller owns."""
        first = await first_frame(context, "pipeline", self._first_frame_seconds)
        if not isinstance(first, run_pb2.RunRequest) or first.WhichOneof("frame") != "spec":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first frame must contain the run")
        assert isinstance(first, run_pb2.RunRequest)
        if first.spec.idempotency_key:
            from lanemesh_orchestrator.runs.idempotency import not_detached

            await abort(context, not_detached())
        async with _audited(context, "Run", first.spec) as act:
            run = await self._start(first.spec, context, self._runs.start)
            act.fields["run"] = run.id
        token = self._input_tokens.setdefault(run, secrets.token_urlsafe())
        await OwnerCall(run, context, token, first).serve()

    async def StartRun(self, request: run_pb2.StartRunRequest, context: Context) -> run_pb2.StartRunResponse:
        """Starts a detached run with its first inputs. Answers when the run is stored, if runs are stored. If its caller leaves
        before that, the run is cancelled, unless it has an idempotency key."""
        inputs: Sequence[run_pb2.RunInput | ClientInput] = request.inputs
        if is_large(request.inputs):
            try:
                inputs = await asyncio.to_thread(decode_all, request.inputs)
            except LanemeshError as error:
                await abort(context, error.fault)

        key, run = await self._keyed(request, context) if request.spec.idempotency_key else (None, None)

        def start(graph: Graph, options: RunOptions) -> ActiveRun:
            return self._runs.start_detached(graph, inputs, options, open_input=request.open_input, key=key)

        async with _audited(context, "StartRun", request.spec) as act:
            if run is None:
                run = await self._start(request.spec, context, start)
            act.fields["run"] = run.id
        try:
            await run.log.begun()
        except asyncio.CancelledError:
            if key is None:  # otherwise a further call finds the run
                run.cancel(LEFT)
            raise
        return run_pb2.StartRunResponse(run_id=run.id)

    async def _keyed(self, request: run_pb2.StartRunRequest, context: Context) -> tuple[Key, ActiveRun | None]:
        text = request.spec.idempotency_key
        try:
            return self._runs.keys.keyed(text, request.spec, request.inputs, open_input=request.open_input)
        except LanemeshError as error:
            await abort(context, error.fault)
        raise AssertionError("abort always raises")

    async def PushInput(self, request: run_pb2.PushInputRequest, context: Context) -> run_pb2.PushInputResponse:
        """Feeds a detached run, or a run of `Run` on behalf of its caller. Answers when all inputs are enqueued."""
        try:
            run = self._runs.find(request.run_id)
            if run is not None and self._is_its_caller(run, request.input_token):
                await run.push(*request.inputs, end=request.end)
            else:
                answer: run_pb2.PushInputResponse | None = None
                if run is None:
                    answer = await self._elsewhere.forward("PushInput", request, context)
                if answer is not None:
                    return answer
                await self._runs.push(request.run_id, request.inputs, end=request.end)
        except LanemeshError as error:
            await abort(context, error.fault)
        return run_pb2.PushInputResponse()

    async def WatchRun(self, request: run_pb2.WatchRunRequest, context: Context) -> None:  # type: ignore[override]
        """Sends the updates of a run from a sequence number on."""
        batches = self._history.batches(request.run_id, request.from_sequence)
        framed = partial(_watched, texts=request.text_outputs)
        try:
            await Frames(context, run_pb2.WatchRunResponse).send(batches, framed)
        except LanemeshError as error:
            await abort(context, error.fault)

    async def GetRun(self, request: run_pb2.GetRunRequest, context: Context) -> run_pb2.GetRunResponse:
        """Returns the record of a run. That of a run of another orchestrator comes from its owner, which alone knows the pending
        approvals, or from the store if the owner does not answer."""
        if self._runs.find(request.run_id) is None:
            with suppress(LanemeshError):
                answer: run_pb2.GetRunResponse | None = await self._elsewhere.forward("GetRun", request, context)
                if answer is not None:
                    return answer
        try:
            return await self._history.record(request.run_id)
        except LanemeshError as error:
            await abort(context, error.fault)

    async def ListRuns(self, request: run_pb2.ListRunsRequest, context: Context) -> run_pb2.ListRunsResponse:
        """Returns the records of runs, the latest first."""
        try:
            return await page(self._history, request)
        except LanemeshError as error:
            await abort(context, error.fault)

    async def CancelRun(self, request: run_pb2.CancelRunRequest, context: Context) -> run_pb2.CancelRunResponse:
        """Cancels a run."""
        async with audited(context, "RunService.CancelRun", run=request.run_id):
            run = self._runs.find(request.run_id)
            if run is None:
                answer: run_pb2.CancelRunResponse | None = await self._elsewhere.forward("CancelRun", request, context)
                if answer is not None:
                    return answer
                return run_pb2.CancelRunResponse(state=(await self._history.record(request.run_id)).run.state)
            state = run.state
            run.cancel(request.reason or "cancelled by a client")
            return run_pb2.CancelRunResponse(state=state)

    async def DecideApproval(
        self, request: run_pb2.DecideApprovalRequest, context: Context
    ) -> run_pb2.DecideApprovalResponse:
        """Approves or refuses a call for which a component waits."""
        about: dict[str, str | int | bool] = {"run": request.run_id, "call": request.call_id}
        async with audited(context, "RunService.DecideApproval", **about, approved=request.approved):
            if self._runs.find(request.run_id) is None:
                answer: run_pb2.DecideApprovalResponse | None = await self._elsewhere.forward(
                    "DecideApproval", request, context
                )
                if answer is not None:
                    return answer
            await decide(self._runs, self._history, request)
        return run_pb2.DecideApprovalResponse()

    async def ValidatePipeline(
        self, request: run_pb2.ValidatePipelineRequest, context: Context
    ) -> run_pb2.ValidatePipelineResponse:
        """Returns all faults of a pipeline."""
        try:
            faults = await faults_of(self._runs, request.spec, for_run=request.for_run)
        except LanemeshError as error:  # the spec names an unknown deployment
            await abort(context, error.fault)
        return run_pb2.ValidatePipelineResponse(faults=[fault.to_proto() for fault in faults])

    def _is_its_caller(self, run: ActiveRun, token: str) -> bool:
        return bool(token) and secrets.compare_digest(token.encode(), self._input_tokens.get(run, "").encode())

    async def _start(
        self, spec: run_pb2.RunSpec, context: Context, start: Callable[[Graph, RunOptions], ActiveRun]
    ) -> ActiveRun:
        try:
            graph = run_graph_of(await self._runs.validate_for_client(spec), spec)
        except PipelineInvalid as error:
            lost = _node_types_lost(spec, error.faults)
            if lost is None:
                raise
            raise lost from None
        timeout = seconds_of(spec.timeout) if spec.HasField("timeout") else None
        trace = traceparent_of(context.invocation_metadata())
        options = RunOptions(
            timeout=timeout,
            traceparent=trace,
            session=spec.session_id,
            depth=spec.depth,
            homes=await self._homes(graph),
            conversation=await self._runs.conversation(spec),
            max_output=MAX_OUTPUT_BYTES,
        )
        return start(graph, options)


def _audited(context: Context, method: str, spec: run_pb2.RunSpec) -> AbstractAsyncContextManager[Act]:
    """The audit of a start; its pipeline and inputs are not part of it."""
    about = {"deployment": spec.deployment.name, "name": spec.name, "session": masked(spec.session_id)}
    return audited(context, f"RunService.{method}", **about)


def _watched(batch: Batch, *, texts: bool) -> run_pb2.WatchRunResponse:
    if isinstance(batch, run_pb2.Gap):
        return run_pb2.WatchRunResponse(gap=batch)
    frame = run_pb2.WatchRunResponse()
    fill(frame, batch, texts=texts)
    return frame


async def faults_of(runs: Runs, spec: run_pb2.RunSpec, *, for_run: bool = False) -> tuple[PipelineFault, ...]:
    """All faults of a pipeline, warnings included; of the part that its run takes, if `for_run` or the spec names a source."""
    try:
        graph = await runs.validate_for_client(spec)
        return tuple((run_graph_of(graph, spec) if for_run or spec.source_component else graph).warnings)
    except PipelineInvalid as error:
        return error.faults


def _node_types_lost(spec: run_pb2.RunSpec, faults: Sequence[PipelineFault]) -> LanemeshError | None:
    """The fault of a run of a deployed pipeline whose node types are not on the mesh at present. It was valid when it was deployed,
    so their node servers have left, and may come back. None if anything else is wrong."""
    errors = [fault for fault in faults if fault.severity is Severity.ERROR]
    if not spec.HasField("deployment") or any(fault.reason != "unknown-provider" for fault in errors):
        return None
    lost = listed([fault.message.rstrip(".") for fault in errors], 3)
    message = (
        f"{quoted(spec.deployment.name)} is deployed, but node servers that it needs have left: {lost}. Retry when they are back, "
        "or start one with `lanemesh node SERVICE --orchestrator ADDRESS`"
    )
    return LanemeshError(Fault(code=Code.UNAVAILABLE, reason="no-server", message=message))
