"""The rows `lanemesh-spread` and `lanemesh-embedded`: the chain as a pipeline, each component in a process or all in one."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lanemesh_orchestrator import Mesh

from chain.work import Work

NODES = Path(__file__).with_name("nodes.py")


def chain(lane: str, stages: Sequence[str], work: Work) -> dict[str, Any]:
    """The pipeline: three stages between a chat that starts the first and a response that hands on what the last says.

    `lane` is what flows between the stages; `stages` are their providers, the outer two of which want to know the work.
    """
    source, middle, count = stages
    config = {"work": asdict(work)}
    return {
        "components": [
            {"id": "chat", "provider": "chat"},
            {"id": "source", "provider": source, "config": config, "input": [{"lane": "text", "from": "chat"}]},
            {"id": "middle", "provider": middle, "input": [{"lane": lane, "from": "source"}]},
            {"id": "count", "provider": count, "config": config, "input": [{"lane": lane, "from": "middle"}]},
            {
                "id": "client",
                "provider": "response",
                "config": {"lane": "text"},
                "input": [{"lane": "text", "from": "count"}],
            },
        ]
    }


TEXTS = ("chain_source", "chain_upper", "chain_count")
MEDIA = ("chain_media_source", "chain_media_pass", "chain_media_count")


class Lanemesh:
    """The chain on a mesh that is up."""

    def __init__(self, name: str, load: int, mesh: Mesh) -> None:
        self.name = name
        self.load = load
        self._mesh = mesh

    async def results(self, work: Work) -> AsyncGenerator[str, None]:
        """Runs the pipeline of texts."""
        async with aclosing(self._mesh.run(chain("text", TEXTS, work), input="go").values()) as outputs:
            async for text in outputs:
                yield text

    async def media(self, items: int) -> AsyncIterator[str]:
        """Runs the pipeline of images."""
        pipeline = chain("image", MEDIA, Work(items=items, every=items))
        async with aclosing(self._mesh.run(pipeline, input="go").values()) as outputs:
            async for text in outputs:
                yield text


@asynccontextmanager
async def spread() -> AsyncIterator[Lanemesh]:
    """A process per component; they find this package as the present process does."""
    os.environ["PYTHONPATH"] = str(NODES.parents[1])
    async with Mesh(spread="component", nodes=[NODES]) as mesh:
        yield Lanemesh("lanemesh-spread", 300_000, mesh)


@asynccontextmanager
async def embedded() -> AsyncIterator[Lanemesh]:
    """All components in this process."""
    async with Mesh(nodes=[NODES]) as mesh:
        yield Lanemesh("lanemesh-embedded", 500_000, mesh)
