"""A mesh is spread over whatever a `Launcher` starts, here node servers in this process."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from lanemesh.client.specs import run_spec
from lanemesh.faults import LanemeshError
from lanemesh.v1 import registry_pb2, update_pb2
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.runs.run_options import RunOptions
from lanemesh_orchestrator.scheduling.launcher import ServerSpec
from lanemesh_orchestrator.scheduling.spread import Spread

from rigs.runs import NODES, chat, node, pipeline, response, serving


class HereServer:
    """A node server in this process, or one that ended before it had registered."""

    def __init__(self, name: str, *, has_ended: bool = False) -> None:
        self.name = name
        self.has_ended = has_ended

    def is_server(self, info: registry_pb2.ServerInfo) -> bool:
        return info.name == self.name

    async def exit_reason(self) -> str:
        return f"{self.name} is out of order"


class HereLauncher:
    """Starts node servers in this process; `failing` end at once."""

    def __init__(self, orchestrator: Orchestrator, *failing: str) -> None:
        self.specs: list[ServerSpec] = []
        self.servers: dict[str, HereServer] = {}
        self._orchestrator = orchestrator
        self._failing = failing
        self._running = AsyncExitStack()

    async def launch(self, spec: ServerSpec) -> HereServer:
        self.specs.append(spec)
        if spec.name not in self._failing:
            await self._running.enter_async_context(serving(self._orchestrator, spec.name))
        self.servers[spec.name] = HereServer(spec.name, has_ended=spec.name in self._failing)
        return self.servers[spec.name]

    async def launch_arbiter(self) -> str:
        return "127.0.0.1:9"

    async def close(self) -> None:
        await self._running.aclose()


DOCUMENT = pipeline(chat(), node("a", "tag", "chat"), node("b", "tag", "a"), response("b"))


@pytest.mark.parametrize(("by_component", "names"), [(True, ["a", "b"]), (False, ["run_nodes"])])
async def test_what_a_pipeline_needs_is_launched_once(by_component: bool, names: list[str]) -> None:
    orchestrator = Orchestrator(embedded=False, nodes=[NODES])
    await orchestrator.listen()
    launcher = HereLauncher(orchestrator)
    spread = Spread(orchestrator, launcher, by_component=by_component)
    graph = orchestrator.runs.validate(run_spec(DOCUMENT, None), orchestrator.host.node_types)
    try:
        for _ in range(2):
            homes = await spread.prepare(graph)
            assert homes == {"a": names[0], "b": names[-1]}
            run = orchestrator.runs.start(graph, RunOptions(homes=homes))
            await run.push(end=True)
            await run.ended.wait()
            assert run.state == update_pb2.RUN_STATE_COMPLETED
        assert [(spec.name, spec.service, spec.nodes) for spec in launcher.specs] == [
            (name, "run_nodes", NODES) for name in names
        ]
        assert orchestrator.gpu_arbiter == "127.0.0.1:9"
        assert await spread.exit_reason(names[0]) == f"{names[0]} is out of order"
        assert await spread.exit_reason("another") == ""
        launcher.servers[names[0]].has_ended = True
        await spread.prepare(graph)
        assert [spec.name for spec in launcher.specs] == [*names, names[0]]
    finally:
        await spread.close()
        await orchestrator.close()


async def test_a_server_that_ends_before_it_has_registered_is_named() -> None:
    orchestrator = Orchestrator(embedded=False, nodes=[NODES])
    await orchestrator.listen()
    spread = Spread(orchestrator, HereLauncher(orchestrator, "b"), by_component=True)
    graph = orchestrator.runs.validate(run_spec(DOCUMENT, None), orchestrator.host.node_types)
    with pytest.raises(LanemeshError, match="the node server b ended before it joined"):
        await spread.prepare(graph)
    await spread.close()
    await orchestrator.close()
