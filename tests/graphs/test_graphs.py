"""Random pipelines do what a sequential reference says, over memory and between processes."""

from __future__ import annotations

import pytest

from graphs.found import found
from graphs.generate import Features
from rigs.graphs import TRANSPORTS, arena, play_all

GRAPHS = 100
"""How many there are here, half of them on each transport; `make fuzz` runs more."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_random_pipelines_end_in_time_in_the_right_state_with_the_right_outputs(transport: str) -> None:
    half = GRAPHS // 2
    first = half * TRANSPORTS.index(transport)
    async with arena(transport) as made:
        mishaps = [
            mishap async for mishap in play_all(made, range(first, first + half), Features()) if mishap is not None
        ]
    assert not mishaps, "\n".join(map(str, mishaps))
    assert sum(made.states.values()) == half
    assert set(made.states) == {"completed", "failed", "cancelled"}
    assert made.growths


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_random_pipelines_have_found_stays_mended(transport: str) -> None:
    async with arena(transport) as made:
        mishaps = {what: mishap for what, graph in found().items() if (mishap := await made.play(graph)) is not None}
    assert not mishaps, "\n".join(f"{what}: {mishap}" for what, mishap in mishaps.items())
