"""The capacity of node servers, and the queue of runs that wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise

import pytest
from lanemesh.faults import LanemeshError
from lanemesh.v1 import node_pb2, registry_pb2
from lanemesh_orchestrator.registry.member import Member
from lanemesh_orchestrator.registry.registry import Registry
from lanemesh_orchestrator.scheduling import admission as rooms
from lanemesh_orchestrator.scheduling.admission import AdmissionQueue, Claim
from lanemesh_orchestrator.scheduling.requirements import (
    NoCapacity,
    NoServer,
    PlacementPolicy,
    Requirement,
    S,
    least_loaded,
)


class Mesh:
    """A registry with servers, and its admission queue."""

    def __init__(self, choose: PlacementPolicy = least_loaded, /, **limits: int) -> None:
        """Servers by name, with their limits; each runs the node types in its name."""
        self.registry = Registry()
        self.admission = AdmissionQueue(self.registry, choose)
        for name, limit in limits.items():
            self.join(name, limit)

    def join(self, name: str, limit: int) -> Member:
        manifests = [node_pb2.Manifest(provider=letter) for letter in name if letter != "_"]
        address = f"127.0.0.1:{len(self.registry.members) + 1}"
        return self.registry.join(
            registry_pb2.ServerInfo(name=name, address=address, manifests=manifests, max_instances=limit)
        )

    def claim(self, *providers: str) -> Claim:
        return self.admission.claim([Requirement(f"c{number}", provider) for number, provider in enumerate(providers)])

    def loads(self) -> list[int]:
        return [member.active_instances for member in self.registry.members.values()]


async def granted(claim: Claim) -> list[str]:
    await asyncio.wait_for(claim.granted.wait(), 5)
    return [member.name for member in claim.servers.values()]


async def settled() -> None:
    """Lets the line be served."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_runs_reserve_capacity_wait_in_the_queue_and_release_it() -> None:
    mesh = Mesh(x=2)
    first, second, third, fourth = (mesh.claim("x") for _ in range(4))
    assert mesh.loads() == [2]
    assert [claim.granted.is_set() for claim in (first, second, third, fourth)] == [True, True, False, False]
    assert isinstance(third.lack, NoCapacity)
    mesh.admission.give_back(first)
    assert await granted(third) == ["x"]
    assert not fourth.granted.is_set()
    mesh.admission.give_back(third)
    assert await granted(fourth) == ["x"]
    for claim in (second, fourth):
        mesh.admission.give_back(claim)
    assert mesh.loads() == [0]
    await mesh.admission.close()


async def test_a_large_run_is_not_overtaken_for_ever_and_others_go_elsewhere() -> None:
    mesh = Mesh(x=3, y=1)
    small = mesh.claim("x")
    large = mesh.claim("x", "x", "x")
    late = mesh.claim("x")  # there is capacity for it, but other runs were first
    elsewhere = mesh.claim("y")
    await settled()
    assert [claim.granted.is_set() for claim in (large, late, elsewhere)] == [False, False, True]
    mesh.admission.give_back(small)
    assert await granted(large) == ["x", "x", "x"]
    await settled()
    assert not late.granted.is_set()
    mesh.admission.give_back(large)
    assert await granted(late) == ["x"]
    await mesh.admission.close()


async def test_a_run_that_leaves_the_queue_blocks_no_other_run() -> None:
    mesh = Mesh(x=3)
    mesh.claim("x")
    large, late = mesh.claim("x", "x", "x"), mesh.claim("x")
    await settled()
    assert not late.granted.is_set()
    mesh.admission.give_back(large)
    assert await granted(late) == ["x"]
    await mesh.admission.close()


async def test_a_server_that_comes_serves_the_line() -> None:
    mesh = Mesh(x=1)
    mesh.claim("x")
    waiting = mesh.claim("x")
    mesh.join("x_", 1)
    assert await granted(waiting) == ["x_"]
    await mesh.admission.close()


async def test_what_no_server_could_ever_take_is_refused_at_once() -> None:
    mesh = Mesh(x=2)
    with pytest.raises(NoCapacity, match="of at most 2"):
        mesh.claim("x", "x", "x")
    with pytest.raises(NoServer):
        mesh.claim("y")
    await mesh.admission.close()


async def test_the_line_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "MAX_WAITING", 2)
    mesh = Mesh(x=1)
    for _ in range(3):
        mesh.claim("x")
    with pytest.raises(LanemeshError, match="2 runs already wait for capacity: no node server has capacity") as caught:
        mesh.claim("x")
    assert (caught.value.fault.reason, caught.value.retry_after) == ("no-capacity", rooms.PAUSE_SECONDS)
    await mesh.admission.close()


async def test_a_run_that_is_refused_goes_elsewhere_or_back_to_its_place_in_line() -> None:
    mesh = Mesh(x=1, x_=0)
    claim = mesh.claim("x")
    (server,) = claim.servers.values()
    claim.full.add(server.name)
    mesh.admission.claim_again(claim)
    assert [member.name for member in claim.servers.values()] == ["x_"]
    assert mesh.loads() == [0, 1]
    claim.without = set(mesh.registry.members.values())
    mesh.admission.claim_again(claim)
    assert isinstance(claim.lack, NoServer)
    assert mesh.loads() == [0, 0]
    again = mesh.join("x__", 0)
    assert await granted(claim) == [again.name]
    await mesh.admission.close()


async def test_a_thousand_runs_wait_at_little_cost() -> None:
    mesh = Mesh(x=1)
    claims = [mesh.claim("x") for _ in range(1_000)]
    for before, after in pairwise(claims):
        mesh.admission.give_back(before)
        await granted(after)
    assert mesh.loads() == [1]
    await mesh.admission.close()


def last_name(
    requirements: Sequence[Requirement], servers: Iterable[S], *, full: Collection[str] = (), idle: bool = False
) -> dict[str, S]:
    """A policy that fills the server whose name comes last."""
    able = [server for server in servers if server.name not in full and (idle or not server.active_instances)]
    last = sorted(able, key=lambda server: server.name)[-1:]
    return least_loaded(requirements, last, full=full, idle=idle)


async def test_a_policy_decides_where_runs_go_first_and_in_line() -> None:
    mesh = Mesh(last_name, x=2, x_a=2, x_b=2)
    first, second = mesh.claim("x", "x"), mesh.claim("x")
    assert await granted(first) == ["x_b", "x_b"]
    assert await granted(second) == ["x_a"]
    for claim in (first, second):
        mesh.admission.give_back(claim)
    await mesh.admission.close()


async def test_a_report_of_gpus_does_not_try_the_queue_again() -> None:
    tried: list[str] = []

    def choose(
        requirements: Sequence[Requirement], servers: Iterable[S], *, full: Collection[str] = (), idle: bool = False
    ) -> dict[str, S]:
        tried.append("idle" if idle else "now")
        return least_loaded(requirements, servers, full=full, idle=idle)

    mesh = Mesh(choose, x=1)
    first, second = mesh.claim("x"), mesh.claim("x")
    await settled()
    before = len(tried)
    mesh.registry.report_gpus(mesh.registry.members["x"], registry_pb2.GpuReport())
    await settled()
    assert len(tried) == before
    mesh.admission.give_back(first)
    assert await granted(second) == ["x"]
    mesh.admission.give_back(second)
    await mesh.admission.close()
