"""The pipelines of the benchmarks of runs, and the meshes that run them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from lanemesh_orchestrator import Mesh

NODES = Path(__file__).with_name("nodes.py")

Component = dict[str, Any]


def line(*middle: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """A pipeline in a row: a chat, these node types with their configs, a response. Their ids are `node_1` and so on."""
    components: list[Component] = [{"id": "chat", "provider": "chat"}]
    before = "chat"
    for number, (provider, config) in enumerate(middle, 1):
        edge = {"lane": "text", "from": before}
        before = f"node_{number}"
        components.append({"id": before, "provider": provider, "config": config, "input": [edge]})
    components.append({"id": "client", "provider": "response", "input": [{"lane": "text", "from": before}]})
    return {"components": components}


@asynccontextmanager
async def mesh(spread: Literal["component"] | None) -> AsyncIterator[Mesh]:
    """A mesh with the node types of `nodes.py`, embedded or with a process per component."""
    os.environ["PYTHONPATH"] = str(NODES.parents[1])
    async with Mesh(spread, nodes=[NODES]) as made:
        yield made
