"""The phases of hosts: each asks all of them, and has an answer of each, in time or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import node_pb2
from lanemesh_orchestrator.deployments.preload import Preload
from lanemesh_orchestrator.runs import phases
from lanemesh_orchestrator.runs.host_connection import server_lost
from lanemesh_orchestrator.runs.host_handle import HostHandle

FULL = Fault(code=Code.RESOURCE_EXHAUSTED, reason="server-full", message="it is full")
BROKEN = Fault(code=Code.ABORTED, reason="lane-broken", message="a lane broke", secondary=True)


class Script:
    """A conversation with a host that answers some frames, in the order in which they come."""

    def __init__(self, **answers: node_pb2.HostResponse | Fault) -> None:
        """`answers` by the frame that is answered; a fault breaks the conversation."""
        self.heard: list[str] = []
        self.closed = False
        self.asked_to_connect = asyncio.Event()
        self._answers = answers
        self._queue: asyncio.Queue[node_pb2.HostResponse | Fault] = asyncio.Queue()

    async def send(self, request: node_pb2.HostRequest) -> None:
        kind = str(request.WhichOneof("frame"))
        self.heard.append(kind)
        if kind == "connect":
            self.asked_to_connect.set()
        if kind in self._answers:
            self.say(self._answers[kind])

    def say(self, answer: node_pb2.HostResponse | Fault) -> None:
        self._queue.put_nowait(answer)

    async def responses(self) -> AsyncGenerator[node_pb2.HostResponse, None]:
        while True:
            answer = await self._queue.get()
            if isinstance(answer, Fault):
                raise LanemeshError(answer)
            yield answer

    async def close(self, *, finished: bool = False) -> None:
        self.closed = True


def placed(*faults: Fault) -> node_pb2.HostResponse:
    return node_pb2.HostResponse(placed=node_pb2.Placed(faults=[fault.to_proto() for fault in faults]))


def connected(*faults: Fault) -> node_pb2.HostResponse:
    return node_pb2.HostResponse(connected=node_pb2.Connected(faults=[fault.to_proto() for fault in faults]))


def host(name: str, script: Script) -> HostHandle:
    instances = [node_pb2.Instance(component=f"{name}_1", provider="x")]
    return HostHandle(name, script, node_pb2.Place(run_id="run-1", instances=instances))


async def stop(*hosts: HostHandle) -> None:
    await asyncio.gather(*(one.stop("the test is over") for one in hosts))


async def test_each_host_answers_for_itself() -> None:
    one, other = host("a", Script(place=placed())), host("b", Script(place=placed(FULL)))
    assert await phases.place([one, other]) == {"a": [], "b": [FULL]}
    await stop(one, other)


async def test_hosts_that_do_not_answer_in_time_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "PLACE_TIMEOUT", 0.01)
    hosts = [host("a", Script(place=placed(FULL))), host("b", Script()), host("c", Script())]
    faults = await phases.place(hosts)
    assert faults["a"] == [FULL]
    assert faults["b"] == faults["c"]
    assert faults["b"][0].message == "the servers b, c did not place its components within 0.01 s"
    await stop(*hosts)


async def test_a_host_that_gives_no_sign_of_life_while_it_places_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "SILENCE_TIMEOUT", 0.01)
    quiet = host("a", Script())
    faults = await phases.place([quiet])
    assert [fault.reason for fault in faults["a"]] == ["server-lost"]
    assert "it sent nothing for 0.01 s" in faults["a"][0].message
    await stop(quiet)


async def test_of_the_faults_of_connecting_only_those_of_lost_servers_count() -> None:
    lost = Script(place=placed())
    hosts = [host("a", Script(place=placed(), connect=connected(BROKEN))), host("b", lost)]
    await phases.place(hosts)
    connecting = asyncio.create_task(phases.connect(hosts, loss_grace=60))
    await lost.asked_to_connect.wait()
    lost.say(server_lost("b", "it was killed"))
    faults = await connecting
    assert list(faults) == ["b"]
    assert [fault.reason for fault in faults["b"]] == ["server-lost"]
    await stop(*hosts)


async def test_reroutes_are_sent_before_the_start() -> None:
    scripts = Script(place=placed()), Script(place=placed())
    new, other = (host(name, script) for name, script in zip("ab", scripts, strict=True))
    await phases.place([new, other])
    order: list[str] = []
    for script in scripts:
        script.heard = order
    await phases.start([new], [(other, node_pb2.HostRequest(reroute=node_pb2.Reroute()))])
    assert order == ["reroute", "start"]
    assert (new.started, other.started) == (True, False)
    new.started = False  # nothing is to be cancelled there
    await stop(new, other)


async def test_an_error_of_what_goes_on_beside_a_block_ends_it() -> None:
    async def fail() -> None:
        raise RuntimeError("out of order")

    async def hang() -> None:
        await asyncio.Event().wait()

    before = asyncio.all_tasks()
    with pytest.raises(RuntimeError, match="out of order"):
        async with phases.background(fail(), hang()):
            await asyncio.Event().wait()
    async with phases.background(hang()):
        pass
    assert asyncio.all_tasks() == before


async def test_what_is_kept_warm_goes_by_the_same_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is frozen is noticed, and asked again; one that lets go of it is asked again as well."""
    monkeypatch.setattr(phases, "SILENCE_TIMEOUT", 0.01)
    monkeypatch.setattr("lanemesh_orchestrator.deployments.preload.RETRY_SECONDS", (0.0, 0.0))
    scripts = [Script(), Script(place=placed()), Script(place=placed())]
    dialled: list[Script] = []
    states: list[tuple[bool, list[str]]] = []
    changed = asyncio.Event()

    def dial(server: str) -> Script:
        dialled.append(scripts[len(dialled)])
        return dialled[-1]

    def on_change() -> None:
        states.append((preload.warm, [fault.reason for fault in preload.faults]))
        changed.set()

    place = node_pb2.Place(keep_warm=True, instances=[node_pb2.Instance(component="m_1", provider="m")])
    preload = Preload("chat", "a", place, dial, on_change)

    async def after(count: int) -> None:
        while len(states) < count:
            changed.clear()
            await changed.wait()

    await after(2)
    assert states == [(False, ["server-lost"]), (True, [])]
    assert scripts[0].closed
    scripts[1].say(server_lost("a", "it was killed"))
    await after(4)
    assert states[2:] == [(False, ["server-lost"]), (True, [])]
    await preload.close()
    assert scripts[2].closed
