"""The client in Python of the matrix of languages: `client.py HOST:PORT`.

`matrix.programs` describes what it reads and prints.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys

from google.protobuf.message import Message
from lanemesh import Client, LanemeshError
from lanemesh.client.inputs import to_input
from lanemesh.client.runs import Run
from lanemesh.client.updates import OutputUpdate
from lanemesh.codec import decode, encode, lane_type_of, make_item
from lanemesh.items import LaneType
from lanemesh.v1 import run_pb2

LONGEST_LINE = 64 * 1024 * 1024


def show(command: str, message: Message | None = None) -> None:
    """Prints a line."""
    print(command, "-" if message is None else base64.b64encode(message.SerializeToString()).decode(), flush=True)


async def execute(run: Run, hold: int, going: asyncio.Event) -> None:
    """Reads a run to its end."""
    outputs = 0
    try:
        async with run:
            print("started", run.id, flush=True)
            async for update in run.updates():
                if not isinstance(update, OutputUpdate):
                    continue
                lane = LaneType(update.lane)
                show("output", encode(lane, make_item(lane, update.value)))
                outputs += 1
                if outputs == hold:
                    print("held", flush=True)
                    await going.wait()
            run.raise_unless_completed()
        show("end")
    except LanemeshError as error:
        show("end", error.fault.to_proto())


async def main(address: str) -> None:
    """Executes commands until the standard input closes."""
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    going = asyncio.Event()
    run: Run | None = None
    async with Client(address) as client, asyncio.TaskGroup() as tasks:
        while line := (await reader.readline()).decode().strip():
            command, _, rest = line.partition(" ")
            if command == "go":
                going.set()
            elif command == "cancel" and run is not None:
                await run.cancel(rest)
            elif command == "run":
                hold, _, content = rest.partition(" ")
                request = run_pb2.StartRunRequest.FromString(base64.b64decode(content))
                inputs = [to_input(decode(lane_type_of(given.item), given.item)) for given in request.inputs]
                run = client.run(json.loads(request.spec.pipeline_json), inputs=inputs)
                going.clear()
                tasks.create_task(execute(run, int(hold), going))
        going.set()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
