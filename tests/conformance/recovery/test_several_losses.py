"""Several components in a row are lost: together, at once, or one after the other."""

from __future__ import annotations

import asyncio
import random

import pytest
from lanemesh.client.run_reader import wire_updates
from lanemesh.v1 import update_pb2

from repeats import times
from rigs.recovered_runs import COMPLETED, COUNT, SMALL, followed, line, never_back, stretches
from rigs.replicas import Replicas, details
from rigs.runs import lane, node, value_of

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120), pytest.mark.waits]


async def test_two_in_a_row_are_lost_together(mesh: Replicas) -> None:
    await mesh.have("left", "a", "b")
    document = line(node("c", "steady", lane("source", **SMALL)), node("d", "steady", lane("c", **SMALL)))
    run = mesh.run(document, {"source": "left", "c": "a", "d": "a"})
    job, outputs, updates = await followed(run, (COUNT // 2, lambda: mesh.kill("a")))
    assert job.state == COMPLETED, job
    stretches(outputs, COUNT)
    assert [len(details(updates, name)) for name in "cd"] == [1, 1]
    never_back(updates)


async def test_two_in_a_row_are_lost_at_once_from_two_servers(mesh: Replicas) -> None:
    await mesh.have("left", "a", "b", "c")
    document = line(node("c", "steady", lane("source", **SMALL)), node("d", "steady", lane("c", **SMALL)))

    def kill() -> None:
        mesh.kill("a")
        mesh.kill("b")

    job, outputs, updates = await followed(
        mesh.run(document, {"source": "left", "c": "a", "d": "b"}), (COUNT // 2, kill)
    )
    assert job.state == COMPLETED, job
    assert sorted(set(map(int, outputs))) == list(range(COUNT))
    never_back(updates)


@pytest.mark.parametrize("first", ["a", "b"])
async def test_two_in_a_row_are_lost_one_after_the_other(mesh: Replicas, first: str) -> None:
    await mesh.have("left", "a", "b", "e")
    document = line(node("c", "steady", lane("source", **SMALL)), node("d", "steady", lane("c", **SMALL)))
    run = mesh.run(document, {"source": "left", "c": "a", "d": "b"})
    second = "b" if first == "a" else "a"
    acts = ((COUNT // 3, lambda: mesh.kill(first)), (2 * COUNT // 3, lambda: mesh.kill(second)))
    job, outputs, updates = await followed(run, *acts)
    assert job.state == COMPLETED, job
    assert sorted(set(map(int, outputs))) == list(range(COUNT))
    never_back(updates)


@pytest.mark.many
async def test_random_losses_also_while_it_recovers(mesh: Replicas) -> None:
    """One server is lost at a random moment, and up to two more while what it ran is placed again."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    for round_number in range(times(3, 1)):
        alive = {"a", "b", "e", "f"}
        await mesh.have("left", *alive)
        document = line(
            node("c", "steady", lane("source", **SMALL)),
            node("d", "steady_sync", lane("c", **SMALL)),
            node("e", "twice", lane("d", **SMALL)),
            count=4_000,
        )
        homes = {name: chance.choice("abe") for name in "cde"}
        first = chance.randrange(1, 3_000)
        where = f"seed {seed}, round {round_number}"
        outputs: list[int] = []
        updates: list[update_pb2.Update] = []

        def lose(name: str, alive: set[str] = alive) -> None:
            if name in alive and len(alive) > 1:
                alive.discard(name)
                mesh.kill(name)

        async with asyncio.timeout(60), mesh.run(document, {"source": "left", **homes}) as run:
            async for update in wire_updates(run):
                updates.append(update)
                if update.WhichOneof("kind") == "output":
                    outputs.append(int(value_of(update.output)))
                    if len(outputs) == first:
                        lose(chance.choice([*homes.values()]))
                if update.node.state == update_pb2.NODE_STATE_STARTING and len(alive) > 1:
                    victim = chance.choice([update.node.detail.split('"')[-2], *sorted(alive)])
                    asyncio.get_running_loop().call_later(chance.random() / 10, lose, victim)
        assert updates[-1].job.state == COMPLETED, (where, updates[-1].job)
        assert sorted(set(outputs)) == list(range(4_000)), where
        never_back(updates)
