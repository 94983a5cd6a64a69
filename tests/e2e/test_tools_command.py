"""`lanemesh tools list` and `call`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Client
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.commands import run as run_command

NODES = Path(__file__).parents[1] / "rigs" / "outside_tools.py"
TOOLBOX: dict[str, Any] = {"components": [{"id": "weather_1", "provider": "weather"}]}


@asynccontextmanager
async def mesh() -> AsyncIterator[str]:
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    await orchestrator.listen()
    try:
        async with Client(orchestrator.address) as client:
            await client.deploy("box", TOOLBOX)
        yield orchestrator.address
    finally:
        await orchestrator.close()


@pytest.mark.conformance("CTRL-08")
async def test_the_command_lists_and_calls(tmp_path: Path) -> None:
    async with mesh() as address:

        async def tools(*words: str) -> Any:
            return await asyncio.to_thread(run_command, "tools", *words, f"--mesh={address}", folder=tmp_path)

        listed = await tools("list", "--json")
        found = {tool["name"]: tool for tool in json.loads(listed.stdout)}
        assert found["forecast"]["deployment"] == "box"
        assert set(found["forecast"]["parameters"]["properties"]) == {"city", "days"}
        table = await tools("list")
        assert "city [days]" in table.stdout
        called = await tools("call", "forecast", "city=17", "days=3")
        assert (called.returncode, json.loads(called.stdout)) == (0, {"city": "17", "days": 3}), called.stderr
        assert "asking for 17 (50%)" in called.stderr
        whole = await tools("call", "forecast", '{"city": "Oslo"}', "--json")
        assert json.loads(whole.stdout)["value"] == {"city": "Oslo", "days": 1}
        failed = await tools("call", "broken")
        assert (failed.returncode, failed.stdout) == (1, "")
        assert "no sky" in failed.stderr
        unknown = await tools("call", "forecst")
        assert unknown.returncode == 2
        assert 'Did you mean "forecast"' in unknown.stderr
        for words, why in ((["city"], "KEY=VALUE"), (["city=a", "city=b"], "given twice"), (["{"], "not valid JSON")):
            wrong = await tools("call", "forecast", *words)
            assert wrong.returncode == 2
            assert why in wrong.stderr
