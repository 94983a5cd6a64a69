"""The driver as an orchestrator: one `Host` call to the server under test."""

from __future__ import annotations

from typing import Any

import grpc.aio
from lanemesh.v1 import fault_pb2, node_pb2, update_pb2

from lanemesh_orchestrator.conformance.calls import StreamCall
from lanemesh_orchestrator.conformance.checks import WAIT_SECONDS, expect
from lanemesh_orchestrator.conformance.frames import faults_shown, shown

HOST = "/lanemesh.v1.NodeService/Host"
ENDED = (
    update_pb2.NODE_STATE_COMPLETED,
    update_pb2.NODE_STATE_SKIPPED,
    update_pb2.NODE_STATE_FAILED,
    update_pb2.NODE_STATE_CANCELLED,
)
"""The states in which a node has ended."""


def state_name(state: int) -> str:
    """The name of a state, such as COMPLETED."""
    try:
        return update_pb2.NodeState.Name(state).removeprefix("NODE_STATE_")  # type: ignore[arg-type]
    except ValueError:
        return f"state {state}"


class HostCall(StreamCall[node_pb2.HostResponse]):
    """One `Host` stream."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Starts the call; nothing is sent."""
        super().__init__(channel, HOST, node_pb2.HostResponse.FromString)
        self._used = 0
        """Frames of earlier runs of this stream."""

    def next_run(self) -> None:
        """The frames that have come belong to an earlier run."""
        self._used = len(self.frames)

    def of(self, kind: str) -> list[Any]:
        """The frames of one kind that have come for the present run."""
        return [getattr(frame, kind) for frame in self.frames[self._used :] if frame.WhichOneof("frame") == kind]

    async def _first(self, kind: str, seconds: float) -> Any:
        await self.until(lambda: bool(self.of(kind)), f"`{kind}`", seconds)
        return self.of(kind)[0]

    async def place(self, place: node_pb2.Place, seconds: float = WAIT_SECONDS) -> list[fault_pb2.Fault]:
        """Sends `place` and returns the faults of `placed`."""
        await self.send(node_pb2.HostRequest(place=place))
        return list((await self._first("placed", seconds)).faults)

    async def place_well(self, place: node_pb2.Place) -> None:
        """Sends `place`. Raises Miss if there are faults."""
        faults = await self.place(place)
        expect(not faults, "`placed` without faults", faults_shown(faults))

    async def connect(self) -> None:
        """Sends `connect`. The answer is for `connected`."""
        await self.send(node_pb2.HostRequest(connect=node_pb2.Connect()))

    async def connected(self, seconds: float = WAIT_SECONDS) -> list[fault_pb2.Fault]:
        """The faults of `connected`."""
        return list((await self._first("connected", seconds)).faults)

    async def connected_well(self) -> None:
        """Waits for `connected`. Raises Miss if there are faults."""
        faults = await self.connected()
        expect(not faults, "`connected` without faults", faults_shown(faults))

    async def start(self) -> None:
        """Sends `start`."""
        await self.send(node_pb2.HostRequest(start=node_pb2.Start()))

    async def run_cancel(self, reason: str = "the driver cancels") -> None:
        """Sends `cancel`."""
        await self.send(node_pb2.HostRequest(cancel=node_pb2.Cancel(reason=reason)))

    def ends(self, component: str) -> list[update_pb2.NodeUpdate]:
        """The reports of the end of a component."""
        updates = [update.node for update in self.of("update") if update.HasField("node")]
        return [node for node in updates if node.component == component and node.state in ENDED]

    async def ended(self, component: str, seconds: float = WAIT_SECONDS) -> update_pb2.NodeUpdate:
        """The report of the end of a component. Raises Miss if there is none in time."""
        expected = f"an update with the end of {component}"
        await self.until(lambda: bool(self.ends(component)), expected, seconds)
        return self.ends(component)[0]

    async def ended_as(self, component: str, *states: int, seconds: float = WAIT_SECONDS) -> update_pb2.NodeUpdate:
        """The same. Raises Miss if it ended in another state."""
        node = await self.ended(component, seconds)
        names = " or ".join(map(state_name, states))
        came = f"{state_name(node.state)} {node.detail} {node.error.message}".strip()
        expect(node.state in states, f"{component} {names}", came)
        return node

    async def finished(self, seconds: float = WAIT_SECONDS) -> list[fault_pb2.Fault]:
        """The faults of `finished`, which must be the last frame of the run."""
        finished = await self._first("finished", seconds)
        last = self.frames[-1]
        expect(last.HasField("finished"), "`finished` as the last frame of the run", f"{shown(last)} after it")
        return list(finished.faults)

    async def finished_well(self, seconds: float = WAIT_SECONDS) -> None:
        """Waits for `finished`. Raises Miss if there are faults."""
        faults = await self.finished(seconds)
        expect(not faults, "`finished` without faults", faults_shown(faults))
