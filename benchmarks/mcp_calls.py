"""What `lanemesh mcp` adds to a call: `python benchmarks/mcp_calls.py`.

A deployed pipeline that returns its input is called by the official MCP client over HTTP and over stdio, and by a client of the
mesh, one after the other in each round. The orchestrator, the server before it and the client are processes of their own. Prints
the median of the differences beside its target, and exits 1 if it is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median

from lanemesh import Client
from mcp.client import Client as McpClient
from mcp.client.stdio import StdioServerParameters

from chain.report import Verdict, console, status, verdicts_json, verdicts_table

SCRIPT = Path(sys.executable).with_name("lanemesh")
BOUND_MS = 5.0
ROUNDS = 300
WARM_UP = 20
ECHO = {
    "components": [
        {"id": "chat_1", "provider": "chat"},
        {"id": "out_1", "provider": "response", "input": [{"lane": "text", "from": "chat_1"}]},
    ]
}

Call = Callable[[], Awaitable[object]]


@asynccontextmanager
async def command(*arguments: str, pattern: str) -> AsyncIterator[str]:
    """A command, and what a pattern finds in its standard error once it is there."""
    environment = os.environ | {"LANEMESH_STORE": "none"}
    process = await asyncio.create_subprocess_exec(
        SCRIPT, *arguments, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env=environment
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            while (found := re.search(pattern, (line := await process.stderr.readline()).decode())) is None:
                if not line:
                    raise RuntimeError(f"lanemesh {' '.join(arguments)} ended")
        yield found[1]
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def compare(direct: Call, others: dict[str, Call], rounds: int) -> dict[str, float]:
    """The median difference of each of the others to the direct call, in ms."""
    added: dict[str, list[float]] = {name: [] for name in others}
    for number in range(WARM_UP + rounds):
        base = await timed_ms(direct)
        for name, call in others.items():
            took = await timed_ms(call)
            if number >= WARM_UP:
                added[name].append(took - base)
    return {name: median(values) for name, values in added.items()}


async def timed_ms(call: Call) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    await call()
    return (time.perf_counter() - started) * 1e3


async def measure(rounds: int) -> list[Verdict]:
    """All values, each with its target."""
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(command("serve", "--port=0", pattern=r"(127\.0\.0\.1:\d+)"))
        client = await stack.enter_async_context(Client(address))
        await client.deploy("echo", ECHO)
        url = await stack.enter_async_context(command("mcp", f"--mesh={address}", "--http=0", pattern=r"(http\S+)"))
        http = await stack.enter_async_context(McpClient(url))
        server = StdioServerParameters(command=str(SCRIPT), args=["mcp", f"--mesh={address}"])
        stdio = await stack.enter_async_context(McpClient(server))
        others: dict[str, Call] = {
            "streamable HTTP": lambda: http.call_tool("echo", {"text": "hello"}),
            "stdio": lambda: stdio.call_tool("echo", {"text": "hello"}),
        }
        added = await compare(lambda: client.request("@echo", "hello").text(), others, rounds)
    return [
        Verdict(what=f"added by lanemesh mcp, {name}", value=value, bound=BOUND_MS, at_least=False, unit="ms")
        for name, value in added.items()
    ]


def main() -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the values as JSON instead of the table")
    parser.add_argument("--quick", action="store_true", help="few rounds, to see that it works")
    arguments = parser.parse_args()
    verdicts = asyncio.run(measure(30 if arguments.quick else ROUNDS))
    if arguments.json:
        print(verdicts_json(verdicts))
    else:
        console().print(verdicts_table(verdicts))
    return status(verdicts)


if __name__ == "__main__":
    sys.exit(main())
