"""A process ends though a task in it ignores every cancellation."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import asyncio
from lanemesh._aio.tasks import abandon

async def stubborn():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

async def main():
    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    abandon(task)

asyncio.run(main())
print("ended")
"""


def test_asyncio_run_waits_for_no_abandoned_task() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("ended\n", "")
