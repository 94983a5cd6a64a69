"""The programs of the matrix of languages: a client and a node server in each, as processes.

A client gets the address of an orchestrator, and reads commands from its standard input, one a line:

* `run HOLD REQUEST`: run this request, a `StartRunRequest` in base64, and read all that it delivers. After HOLD outputs it stops
  reading until it gets `go`.
* `go`: read on.
* `cancel REASON`: cancel the run.

It prints `started RUN_ID`, `output ITEM` for each output, `held` when it has stopped reading, and `end FAULT` when the run has
ended, with `-` for the fault of a run that has completed. Items and faults are messages in base64.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lanemesh.v1 import fault_pb2, lane_pb2, run_pb2

ROOT = Path(__file__).parents[2]
GO = ROOT / "build" / "go" / "bin"
CPP = ROOT / "build" / "cpp"
TYPESCRIPT = ROOT / "sdk" / "typescript" / "node_modules" / ".cache" / "matrix"

LANGUAGES = {"python": "Python", "ts": "TypeScript", "go": "Go", "cpp": "C++"}
"""By the beginning of the names of its node types."""
LONGEST_LINE = 64 * 1024 * 1024
NEVER = -1
"""The hold of a client that reads without a stop."""


def servers(address: str) -> Mapping[str, Sequence[str]]:
    """By language: the command of its node server, if it is built. That in Python runs in the process of the tests."""
    commands = {
        "ts": ["node", str(TYPESCRIPT / "server.js"), address],
        "go": [
            str(GO / "node"),
            "-name",
            "go",
            "-until-stdin-closes",
            "-conformance-as",
            "go",
            "-orchestrator",
            address,
        ],
        "cpp": [str(CPP / "node_server"), "--conformance-as", "cpp", "--orchestrator", address],
    }
    return _built(commands)


def clients(address: str) -> Mapping[str, Sequence[str]]:
    """By language: the command of its client, if it is built."""
    commands = {
        "python": [sys.executable, str(Path(__file__).with_name("client.py")), address],
        "ts": ["node", str(TYPESCRIPT / "client.js"), address],
        "go": [str(GO / "matrix"), address],
        "cpp": [str(CPP / "matrix_client"), address],
    }
    return _built(commands)


def _built(commands: Mapping[str, list[str]]) -> Mapping[str, Sequence[str]]:
    return {
        language: command
        for language, command in commands.items()
        if shutil.which(command[0]) and all(Path(part).exists() for part in command[1:2] if part.startswith("/"))
    }


@dataclass
class Result:
    """What a client has reported of a run."""

    outputs: list[lane_pb2.Item] = field(default_factory=list)
    fault: fault_pb2.Fault | None = None
    """None: the run has completed."""


@dataclass
class ClientProcess:
    """A client."""

    process: asyncio.subprocess.Process
    running: bool = False
    """It is in the middle of a run."""

    async def begin(self, pipeline: Mapping[str, Any], inputs: Iterable[lane_pb2.Item], *, hold: int = NEVER) -> None:
        """Starts a run."""
        self.running = True
        request = run_pb2.StartRunRequest(spec=run_pb2.RunSpec(pipeline_json=json.dumps(pipeline)))
        request.inputs.extend(run_pb2.RunInput(item=item) for item in inputs)
        await self.send(f"run {hold} {base64.b64encode(request.SerializeToString()).decode()}")

    async def started(self) -> str:
        """The id of the run."""
        return await self._word("started")

    async def held(self) -> list[lane_pb2.Item]:
        """Waits until the client has stopped reading. Returns the outputs before."""
        outputs: list[lane_pb2.Item] = []
        while (line := await self._line()) != "held":
            outputs.append(_output(line))
        return outputs

    async def result(self) -> Result:
        """Waits for the end of the run."""
        result = Result()
        while not (line := await self._line()).startswith("end "):
            if not line.startswith("started "):
                result.outputs.append(_output(line))
        self.running = False
        fault = line.removeprefix("end ")
        if fault != "-":
            result.fault = fault_pb2.Fault.FromString(base64.b64decode(fault))
        return result

    async def run(self, pipeline: Mapping[str, Any], inputs: Iterable[lane_pb2.Item]) -> Result:
        """Runs a pipeline to its end."""
        await self.begin(pipeline, inputs)
        return await self.result()

    async def send(self, line: str) -> None:
        """Sends a command."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()

    async def _word(self, command: str) -> str:
        line = await self._line()
        assert line.startswith(command), line
        return line.removeprefix(command).strip()

    async def _line(self) -> str:
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode().strip()
        assert line, f"the client has ended with status {await self.process.wait()}"
        return line


def _output(line: str) -> lane_pb2.Item:
    command, _, item = line.partition(" ")
    assert command == "output", line
    return lane_pb2.Item.FromString(base64.b64decode(item))


@contextlib.asynccontextmanager
async def process(command: Sequence[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that ends with the block: its standard input closes, and it is killed if it goes on."""
    pipe = asyncio.subprocess.PIPE
    started = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, limit=LONGEST_LINE, env={**os.environ, "NO_COLOR": "1"}
    )
    try:
        yield started
    finally:
        assert started.stdin is not None
        started.stdin.close()
        try:
            async with asyncio.timeout(15):
                await started.communicate()
        except TimeoutError:
            started.kill()
            await started.wait()
