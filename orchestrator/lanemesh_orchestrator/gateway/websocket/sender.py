"""Sends messages over a WebSocket: one after the other, at the pace of the client."""

from __future__ import annotations

import asyncio
from typing import Any

from lanemesh.faults import LanemeshError
from lanemesh.text_outputs import Entry, TextOutputs
from starlette.websockets import WebSocket

from lanemesh_orchestrator.gateway.json_response import json_bytes
from lanemesh_orchestrator.update_json import fault_json, to_json

MEDIA = ("image", "audio", "video")
"""The payloads of items whose content is sent as a binary frame."""


class Sender:
    """The sending side of a socket. Its calls wait while the client does not read."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._turn = asyncio.Lock()
        """A message with a binary frame is not torn apart."""

    async def send(self, message: dict[str, Any], content: bytes | None = None) -> None:
        """Sends a message, and the content of its media as the next frame. Raises WebSocketDisconnect if the client is gone."""
        text = json_bytes(message).decode()
        async with self._turn:
            await self._socket.send_text(text)
            if content is not None:
                await self._socket.send_bytes(content)

    async def error(self, request_id: str, error: LanemeshError) -> None:
        """Reports that a request has failed."""
        await self.send({"type": "error", "id": request_id, "error": fault_json(error.fault)})

    async def entry(self, run_id: str, entry: Entry) -> None:
        """Sends one or more updates of a run."""
        if isinstance(entry, TextOutputs):
            for update in entry.updates():
                await self.send({"type": "update", "run_id": run_id, "update": to_json(update)})
            return
        kind = entry.output.item.WhichOneof("payload") if entry.WhichOneof("kind") == "output" else None
        content: bytes = getattr(entry.output.item, kind).content if kind in MEDIA else b""
        message: dict[str, Any] = {"type": "update", "run_id": run_id}
        if not content:
            await self.send({**message, "update": to_json(entry)})
            return
        flat = to_json(entry, file="the next frame")  # so that the content is not in it
        del flat["value"]["file"]
        await self.send({**message, "update": flat, "frames": 1}, content)
