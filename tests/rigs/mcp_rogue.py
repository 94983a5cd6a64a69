"""An MCP server over stdio that misbehaves as its first argument says. It has no library, so that it can break the protocol."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

MODE = sys.argv[1]
JOURNAL = Path(sys.argv[2]) if len(sys.argv) > 2 else None
TOOLS = 5_000 if MODE == "many" else 1
calls = 0


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0"} | message) + "\n")
    sys.stdout.flush()


def note(line: str) -> None:
    if JOURNAL is not None:
        with JOURNAL.open("a") as file:
            file.write(f"{line}\n")


def read() -> dict[str, Any]:
    line = sys.stdin.readline()
    if not line:
        note("input closed")
        if MODE == "stubborn":
            time.sleep(600)
        sys.exit(0)
    message: dict[str, Any] = json.loads(line)
    if message.get("method") == "notifications/cancelled":
        note("cancelled")
    return message


def answer(number: Any, result: dict[str, Any]) -> None:
    send({"id": number, "result": result})


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": words}], **more}


def listed(cursor: str | None) -> dict[str, Any]:
    first = int(cursor or 0)
    names = [f"tool_{n}" for n in range(first, min(first + 100, TOOLS))]
    if MODE == "changes":
        names = [f"tool_{calls}"]
    tools = [{"name": name, "description": name, "inputSchema": {"type": "object"}} for name in names]
    more = MODE == "endless" or first + 100 < TOOLS
    return {"tools": tools, **({"nextCursor": str(first + 100)} if more else {})}


def call(number: Any, params: dict[str, Any]) -> None:
    global calls
    calls += 1
    note(f"call {os.getpid()}")
    match MODE:
        case "odd":
            answer(number, {"content": [{"type": "hologram", "data": "?"}]})
        case "dies":
            sys.stderr.write("the disk is full\n")
            sys.stderr.flush()
            os._exit(3)
        case "dies-once" if not any(line.startswith("died") for line in JOURNAL.read_text().splitlines()):  # type: ignore[union-attr]
            note("died")
            os._exit(3)
        case "hangs":
            while read().get("method") != "notifications/cancelled":
                pass
        case "long":
            sys.stdout.write("x" * (17 * 1024 * 1024))
            sys.stdout.flush()
            time.sleep(600)
        case "fails":
            answer(number, text("no such city", isError=True))
        case "rejects":
            send({"id": number, "error": {"code": -32602, "message": "the city is missing"}})
        case "elicits" | "elicits-name":
            kind = "boolean" if MODE == "elicits" else "string"
            schema = {"type": "object", "properties": {"it": {"type": kind}}, "required": ["it"]}
            send(
                {"id": "e1", "method": "elicitation/create", "params": {"message": "Sure?", "requestedSchema": schema}}
            )
            reply = read()["result"]
            answer(number, text(f"the user: {reply['action']} {reply.get('content')}"))
        case "variables":
            answer(number, text(" ".join(sorted(os.environ))))
        case "progress":
            token = params["_meta"]["progressToken"]
            for done in (1, 2, 4):
                report = {"progressToken": token, "progress": done, "total": 4, "message": f"step {done}"}
                send({"method": "notifications/progress", "params": report})
            answer(number, text("done"))
        case "structured":
            answer(number, text('{"degrees": 9}', structuredContent={"degrees": 9}))
        case _:
            answer(number, text(f"called {params['name']} {json.dumps(params.get('arguments'))}"))


def main() -> None:
    note(f"start {os.getpid()}")
    if MODE == "exits":
        sys.stderr.write("no licence found\n")
        sys.exit(4)
    if MODE == "floods":
        for _ in range(2_000):
            sys.stderr.write("flood " * 4_000 + "\n")
    if MODE == "noise":
        print("Server is starting ...", flush=True)
    while True:
        message = read()
        number, method = message.get("id"), message.get("method")
        if MODE == "mute" or number is None:
            continue
        if method == "initialize":
            info = {"name": "rogue", "version": "1"}
            answer(number, {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info})
        elif method == "tools/list":
            answer(number, listed((message.get("params") or {}).get("cursor")))
        elif method == "tools/call":
            call(number, message["params"])
        else:
            send({"id": number, "error": {"code": -32601, "message": "Method not found"}})


if __name__ == "__main__":
    main()
