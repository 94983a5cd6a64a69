"""The client in Python of the benchmark of languages: `client.py ADDRESS FILE TEXT REQUESTS` prints what it measured as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from lanemesh import Client


async def main(address: str, file: str, text: str, requests: int) -> None:
    """Sends the text so many times, one after the other, and reads every output."""
    milliseconds, outputs = [], 0
    async with Client(address) as client:
        for _ in range(requests):
            started = time.perf_counter()
            async with client.run(Path(file), input=text) as run:
                async for _ in run.values():
                    outputs += 1
            milliseconds.append((time.perf_counter() - started) * 1000)
    print(json.dumps({"milliseconds": milliseconds, "outputs": outputs}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
