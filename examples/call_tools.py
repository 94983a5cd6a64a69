"""Calls a tool of a pipeline from a program, without a model: python call_tools.py PIPELINE TOOL ARGUMENTS, which are JSON."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from lanemesh import Mesh, ToolResultUpdate


async def main(pipeline: str, folder: Path, tool: str, arguments: str) -> None:
    """Prints the result of one call."""
    call = {"name": tool, "arguments": arguments}
    async with Mesh(folder=folder) as mesh, mesh.run(pipeline, input=call) as run:
        async for update in run.tools():
            if isinstance(update, ToolResultUpdate):
                print(update.content)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    asyncio.run(main(file.read_text(encoding="utf-8"), file.parent, *sys.argv[2:4]))
