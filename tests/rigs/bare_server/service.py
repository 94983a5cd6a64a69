"""NodeService of the bare server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from lanemesh.v1 import lane_pb2, node_pb2, node_pb2_grpc

from rigs.bare_server.faults import ENDED, EXISTS, INVALID, NOT_FOUND, UNMET, Down, Fault, fault
from rigs.bare_server.nodes import BODIES
from rigs.bare_server.run import Run


class BareService(node_pb2_grpc.NodeServiceServicer):
    """NodeService of level L0."""

    def __init__(self) -> None:
        self.runs: dict[tuple[str, int], Run] = {}
        self.leaving: set[asyncio.Task[None]] = set()

    async def Describe(self, request: Any, context: Any) -> node_pb2.DescribeResponse:
        manifests = []
        for provider in BODIES:
            manifest = node_pb2.Manifest(provider=provider, version="1", service="bare", description=provider)
            if provider != "conformance_source":
                manifest.inputs.add(name="text", lane_type=lane_pb2.LANE_TYPE_TEXT, required=True)
            if provider != "conformance_sink":
                manifest.outputs.add(name="out", lane_type=lane_pb2.LANE_TYPE_TEXT)
            manifests.append(manifest)
        return node_pb2.DescribeResponse(manifests=manifests, protocol_version=1, instance_id="bare-1")

    async def Host(self, requests: AsyncIterator[Any], context: Any) -> None:  # type: ignore[override]
        """One run."""
        outbox: asyncio.Queue[node_pb2.HostResponse] = asyncio.Queue()
        writing = asyncio.create_task(self._write(outbox, context))
        working: list[asyncio.Task[None]] = []
        run: Run | None = None
        try:
            async for request in requests:
                match request.WhichOneof("frame"):
                    case "place":
                        faults = self._refusals(request.place) if run is None else self._exists(request.place)
                        if not faults:
                            run = self.runs[request.place.run_id, request.place.incarnation] = Run(request.place)
                            faults = run.make()
                        outbox.put_nowait(node_pb2.HostResponse(placed=node_pb2.Placed(faults=faults)))
                    case "connect" | "start" as frame:
                        working.append(asyncio.create_task(self._phase(frame, run, outbox)))
                    case "cancel" if run is not None:
                        working.append(asyncio.create_task(run.cancel()))
        finally:
            leaving = asyncio.create_task(self._leave(run, working, outbox, writing))
            self.leaving.add(leaving)
            leaving.add_done_callback(self.leaving.discard)
            await asyncio.shield(leaving)  # gRPC cancels the handler of a broken call

    async def _leave(
        self,
        run: Run | None,
        working: list[asyncio.Task[None]],
        outbox: asyncio.Queue[Any],
        writing: asyncio.Task[None],
    ) -> None:
        if run is not None:
            await run.cancel()
            self.runs.pop((run.place.run_id, run.place.incarnation), None)
        for task in working:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await outbox.join()
        writing.cancel()
        await asyncio.wait([writing, *working])

    async def _write(self, outbox: asyncio.Queue[node_pb2.HostResponse], context: Any) -> None:
        while True:
            try:
                async with asyncio.timeout(20):
                    frame = await outbox.get()
            except TimeoutError:
                outbox.put_nowait(node_pb2.HostResponse())
                continue
            with contextlib.suppress(*ENDED):
                await context.write(frame)
            outbox.task_done()

    async def _phase(self, frame: str, run: Run | None, outbox: asyncio.Queue[node_pb2.HostResponse]) -> None:
        phase = run.phase if run is not None else "new"
        misplaced = fault(UNMET, "not-placed", f"`{frame}` came when the run was {phase}")
        if frame == "connect":
            faults = await run.connect() if run is not None and phase == "placed" else [misplaced]
            outbox.put_nowait(node_pb2.HostResponse(connected=node_pb2.Connected(faults=faults)))
        elif run is not None and phase == "started":
            run.faults.append(misplaced)
            await run.cancel()
        else:
            send = lambda **frame: outbox.put_nowait(node_pb2.HostResponse(**frame))  # noqa: E731
            faults = await run.execute(send) if run is not None and phase == "connected" else [misplaced]
            if run is not None and phase != "connected":
                await run.cancel()
                self.runs.pop((run.place.run_id, run.place.incarnation), None)
            outbox.put_nowait(node_pb2.HostResponse(finished=node_pb2.Finished(faults=faults)))

    def _exists(self, place: node_pb2.Place) -> list[Fault]:
        return [fault(EXISTS, "run-exists", f"{place.run_id} is hosted already")]

    def _refusals(self, place: node_pb2.Place) -> list[Fault]:
        if (place.run_id, place.incarnation) in self.runs:
            return self._exists(place)
        if place.features:
            return [fault(UNMET, "missing-feature", f"it lacks {', '.join(place.features)}")]
        return []

    async def Exchange(self, requests: Any, context: Any) -> None:  # type: ignore[override]
        """One lane."""
        try:
            async with asyncio.timeout(10):
                first = await context.read()
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "no open came within 10 s")
        except DecodeError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if not isinstance(first, Down) or first.WhichOneof("frame") != "open":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first frame must be open")
        run = self.runs.get((first.open.run_id, first.open.incarnation))
        edge = run.edges.get(first.open.edge_id) if run is not None else None
        if run is None:
            await _abort(context, fault(NOT_FOUND, "unknown-run", "there is no such run"), first.open)
        elif edge is None:
            await _abort(context, fault(NOT_FOUND, "unknown-edge", "the run has no such edge"), first.open)
        elif first.open.lane_type != edge.spec.lane_type:
            await _abort(context, fault(INVALID, "lane-mismatch", "the edge is of another type"), first.open)
        elif first.open.reopen:
            await _abort(context, fault(UNMET, "not-detached", "the edge cannot be reopened"), first.open)
        elif edge.opened:
            await _abort(context, fault(EXISTS, "already-open", "the edge has a lane"), first.open)
        elif first.open.resume_from:
            await _abort(context, fault(UNMET, "no-resume", "the edge cannot be resumed"), first.open)
        else:
            edge.opened = True
            await edge.serve(context, lambda: run.cancelling)


async def _abort(context: Any, cause: Fault, opening: lane_pb2.LaneOpen) -> None:
    status = status_pb2.Status(code=cause.code, message=cause.message)
    info = error_details_pb2.ErrorInfo(reason=cause.reason, domain="lanemesh", metadata={"lane": opening.edge_id})
    status.details.add().Pack(info)
    code = next(each for each in grpc.StatusCode if each.value[0] == cause.code)
    await context.abort(code, cause.message, (("grpc-status-details-bin", status.SerializeToString()),))
