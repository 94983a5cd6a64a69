"""What tests share ends within a bound."""

from __future__ import annotations

import asyncio

import pytest

from endings import end


async def test_a_hang_is_reported_with_the_waits_of_every_task() -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError) as raised:
        await end("the world", never(), 0.01)

    told = str(raised.value).splitlines()
    assert told[0] == "the world did not end within 0.01 s"
    assert any(line.startswith("end of the world waits in ") and "in Event.wait" in line for line in told)


async def test_an_error_of_the_ending_is_raised() -> None:
    async def fails() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await end("nothing", fails())
