"""The example with channels: a worker tells its progress, and stops when another node or a client says so."""

from __future__ import annotations

import re
from typing import Literal

import pytest
from lanemesh.client.run_reader import wire_updates
from lanemesh_orchestrator import Mesh

from pages import ROOT
from rigs.runs import value_of

PIPELINE = (ROOT / "examples/progress_and_stop.pipe").read_text(encoding="utf-8")
NODES = [ROOT / "examples/progress_and_stop_nodes.py"]


@pytest.mark.conformance("CHAN-04")
@pytest.mark.parametrize("spread", [None, "component"])
async def test_the_judge_stops_the_worker_and_so_does_a_client(spread: Literal["component"] | None) -> None:
    async with Mesh(spread, nodes=NODES) as mesh:
        result = await mesh.run(PIPELINE, input="go").result()
        verdict, estimate = sorted(result.values)
        assert verdict == "good enough"
        assert re.fullmatch(r"pi is about 3\.1\d after [\d,]+ darts: the error is 0\.01 at most", estimate)

        never = {"judge_1.error": 0, "darts_1.rounds": 100_000}
        async with mesh.run(PIPELINE, input="go", settings=never) as run:
            async with run.channels.subscribe("progress", overflow="drop_oldest", limit=1) as progress:
                first = await anext(progress)
                assert 0 < first["pi"] < 4
                assert (await anext(progress))["darts"] > first["darts"]
                await run.channels.publish("control", "the user has seen enough")
            outputs = [
                value_of(update.output)
                async for update in wire_updates(run)
                if update.WhichOneof("kind") == "output" and update.output.item.WhichOneof("payload")
            ]
        assert sorted(outputs)[0] == "not good enough"
        assert sorted(outputs)[1].endswith("darts: the user has seen enough")
        assert result.state == "completed"
