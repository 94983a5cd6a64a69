"""Work that counts its own time in ticks and records its end, so that a test sees how long it went on after a cancellation.

Run as a program, this is an MCP server over stdio with the work as its tool.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

TICK_SECONDS = 0.1
"""Time between two ticks."""


async def beat(folder: str) -> str:
    """Ticks until it is cancelled. Writes a byte per tick to the file "ticks" of the folder, and makes the file "stopped" at the
    end."""
    try:
        while True:
            _tick(folder)
            await asyncio.sleep(TICK_SECONDS)
    finally:
        (Path(folder) / "stopped").touch()


def _tick(folder: str) -> None:
    with (Path(folder) / "ticks").open("ab") as file:
        file.write(b"x")


if __name__ == "__main__":
    from mcp.server import MCPServer

    server = MCPServer("heartbeats")
    server.tool()(beat)
    server.run("stdio")
