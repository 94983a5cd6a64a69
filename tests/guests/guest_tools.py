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
    """Waits until it is cancelled, and leaves a file for its start and for its end."""
    (Path(folder) / "started").touch()
    try:
        await asyncio.Event().wait()
    finally:
        (Path(folder) / "cancelled").touch()
    return ""
