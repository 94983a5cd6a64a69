"""A host that preloads: resources are loaded once and kept while the stream lasts, without a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest_asyncio
from lanemesh import Context, In, Node, Out
from lanemesh.faults import Code, Fault
from lanemesh.node.node import Service
from lanemesh.node.runtime.resources import Resources
from lanemesh.protocol import PROTOCOL_VERSION
from lanemesh.server.host.host import NodeHost
from lanemesh.server.host.host_session import HostSession
from lanemesh.v1 import node_pb2
from pydantic import BaseModel


class Model(Node):
    """Loads a name."""

    class Config(BaseModel):
        name: str = "m"

    text: In[str]
    said: Out[str]
    loaded: ClassVar[list[str]] = []
    begun: ClassVar[asyncio.Queue[str]]
    unloaded: ClassVar[asyncio.Queue[str]]
    gate: ClassVar[asyncio.Event]

    @classmethod
    async def load(cls, config: Any) -> str:
        cls.loaded.append(config.name)
        cls.begun.put_nowait(config.name)
        await cls.gate.wait()
        if config.name == "bad":
            raise RuntimeError("no such model")
        return str(config.name)

    @classmethod
    async def unload(cls, resource: Any) -> None:
        cls.unloaded.put_nowait(resource)

    def process(self, context: Context) -> dict[str, Any]:
        return {"said": self.text}


class Alone(Model):
    """Runs in a process of its own, which loads for itself."""

    isolation = "process"


@pytest_asyncio.fixture
async def host() -> AsyncIterator[NodeHost]:
    """A host that unloads unused resources at once."""
    Model.loaded, Model.begun, Model.unloaded, Model.gate = [], asyncio.Queue(), asyncio.Queue(), asyncio.Event()
    Model.gate.set()
    host = NodeHost([Service("models", [Model, Alone])], name="s")
    host.resources = Resources(idle_seconds=0)
    yield host
    await host.close()


def place(*configs: str, provider: str = "model", warm: bool = True, run_id: str = "warm-1") -> node_pb2.HostRequest:
    """The request to a host: an instance of each config."""
    instances = [
        node_pb2.Instance(component=f"c{number}", provider=provider, config_json=config)
        for number, config in enumerate(configs)
    ]
    told = node_pb2.Place(run_id=run_id, protocol_version=PROTOCOL_VERSION, instances=instances, keep_warm=warm)
    return node_pb2.HostRequest(place=told)


async def placed(session: HostSession, request: node_pb2.HostRequest) -> list[Fault]:
    """What a host answers to it."""
    session.handle(request)
    async with asyncio.timeout(5):
        response = await anext(session.responses())
    assert response.WhichOneof("frame") == "placed"
    return [Fault.from_proto(status) for status in response.placed.faults]


async def test_happy_loaded_once_kept_and_given_back_at_the_end(host: NodeHost) -> None:
    session = host.session()
    assert await placed(session, place('{"name": "a"}', '{"name": "a"}', '{"name": "b"}')) == []
    assert sorted(Model.loaded) == ["a", "b"]
    assert not host.runs
    assert host.idle.is_set()
    run = host.session()
    assert await placed(run, place('{"name": "a"}', warm=False, run_id="run-1")) == []
    await run.close()
    assert sorted(Model.loaded) == ["a", "b"]
    await session.close()
    async with asyncio.timeout(5):
        assert {await Model.unloaded.get(), await Model.unloaded.get()} == {"a", "b"}
    assert not host.warm


async def test_two_who_keep_the_same_warm_do_not_mind_each_other(host: NodeHost) -> None:
    first, second = host.session(), host.session()
    assert await placed(first, place("{}")) == await placed(second, place("{}", run_id="warm-2")) == []
    await first.close()
    third = host.session()
    assert await placed(third, place("{}", run_id="warm-3")) == []
    assert Model.loaded == ["m"]
    await asyncio.gather(second.close(), third.close())


async def test_error_every_fault_is_reported_and_the_rest_is_kept(host: NodeHost) -> None:
    session = host.session()
    faults = await placed(session, place('{"name": "bad"}', '{"name": 5}', '{"name": "a"}'))
    assert sorted(fault.details["component"] for fault in faults) == ["c0", "c1"]
    assert {"provider": "model", "server": "s"}.items() <= dict(faults[0].details).items()
    assert [fault.reason for fault in await placed(session, place("{}"))] == ["run-exists"]
    (unknown,) = await placed(host.session(), place("{}", provider="modle"))
    assert unknown.reason == "unknown-provider"
    session.handle(node_pb2.HostRequest(connect=node_pb2.Connect()))
    response = await anext(session.responses())
    assert "`connect` came before `place`" in response.connected.faults[0].message
    await session.close()


async def test_what_a_process_of_its_own_loads_is_not_loaded_here(host: NodeHost) -> None:
    session = host.session()
    assert await placed(session, place("{}", provider="alone")) == []
    assert Model.loaded == []
    await session.close()


async def test_shutdown_a_conversation_that_ends_while_it_loads_keeps_nothing(host: NodeHost) -> None:
    Model.gate.clear()
    session = host.session()
    session.handle(place('{"name": "a"}', '{"name": "b"}'))
    async with asyncio.timeout(5):
        assert {await Model.begun.get(), await Model.begun.get()} == {"a", "b"}
        await session.close()
    assert not host.warm
    assert [response async for response in session.responses()] == []
    Model.gate.set()
    again = host.session()
    assert await placed(again, place('{"name": "a"}')) == []  # the load was given up, or is shared
    await again.close()


async def test_shutdown_a_host_that_drains_hangs_up_and_keeps_nothing_more(host: NodeHost) -> None:
    session = host.session()
    assert await placed(session, place("{}")) == []
    host.drain()
    async with asyncio.timeout(5):
        assert [response async for response in session.responses()] == []
        await session.close()
        assert await Model.unloaded.get() == "m"
    (refused,) = await placed(host.session(), place("{}"))
    assert refused.reason == "draining"


async def test_error_a_feature_that_it_lacks_or_does_not_know_is_refused_by_name(host: NodeHost) -> None:
    request = place('{"name": "a"}')
    request.place.features.extend(["preload", "time-travel"])
    (fault,) = await placed(host.session(), request)
    assert (fault.code, fault.reason) == (Code.FAILED_PRECONDITION, "missing-feature")
    assert 'the node server "s"' in fault.message
    assert 'does not support the feature "time-travel", which the run needs there. Install a version' in fault.message
    assert not Model.loaded


async def test_a_place_of_another_protocol_version_is_served(host: NodeHost) -> None:
    session = host.session()
    request = place('{"name": "a"}')
    request.place.protocol_version = 99
    assert await placed(session, request) == []
    await session.close()
