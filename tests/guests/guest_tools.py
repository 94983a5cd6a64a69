"""Tools and agents for the tests of guests."""

from __future__ import annotations

import asyncio
from pathlib import Path


def weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


def broken(city: str) -> str:
    """Fails."""
    raise ValueError(f"no station in {city}")


async def wait(folder: str) -> str:
    """Ticks every 0.1 s until it is cancelled: adds a byte to the file "ticks", and leaves a file for its end."""
    try:
        while True:
            _tick(folder)
            await asyncio.sleep(0.1)
    finally:
        (Path(folder) / "cancelled").touch()
    return ""


def _tick(folder: str) -> None:
    with (Path(folder) / "ticks").open("ab") as file:
        file.write(b"x")
