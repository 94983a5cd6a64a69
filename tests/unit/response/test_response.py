"""What reaches a response reaches the client, whatever lane it comes by."""

from __future__ import annotations

from typing import Any

import pytest
from lanemesh_orchestrator import Mesh


def pipeline(config: dict[str, Any]) -> dict[str, Any]:
    """Text to a response directly, and counted, as data."""
    chat = {"id": "chat_1", "provider": "chat"}
    count = {"id": "count_1", "provider": "count", "input": [{"lane": "text", "from": "chat_1"}]}
    fed = [{"lane": "text", "from": "chat_1"}, {"lane": "data", "from": "count_1"}]
    return {"components": [chat, count, {"id": "out_1", "provider": "response", "config": config, "input": fed}]}


async def test_it_delivers_every_lane_that_is_connected() -> None:
    async with Mesh() as mesh:
        result = await mesh.run(pipeline({}), input="hello").result()

    assert result.error is None
    assert sorted(map(type, result.values), key=str) == [dict, str]


@pytest.mark.parametrize("lane", ["text", "answers"])
async def test_a_lane_that_its_config_does_not_name_is_a_fault(lane: str) -> None:
    async with Mesh() as mesh:
        faults = await mesh.validate(pipeline({"lane": lane}))

    assert {fault.reason for fault in faults} == {"lane-mismatch"}
