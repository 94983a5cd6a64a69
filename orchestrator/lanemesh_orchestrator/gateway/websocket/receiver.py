"""Receives the requests of a WebSocket, with the binary frames that follow them."""

from __future__ import annotations

from typing import Any

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.json_text import read_json
from starlette.websockets import WebSocket, WebSocketDisconnect

from lanemesh_orchestrator.gateway.invalid import invalid
from lanemesh_orchestrator.gateway.off_loop import off_loop
from lanemesh_orchestrator.gateway.websocket import requests
from lanemesh_orchestrator.reasons import Reason


class BadMessage(LanemeshError):
    """A message is not a valid request."""

    def __init__(self, request_id: str, error: LanemeshError) -> None:
        """`request_id`: the id of the request, as far as it has one. `error`: what is wrong."""
        super().__init__(error.fault)
        self.request_id = request_id


class Receiver:
    """The receiving side of a socket."""

    def __init__(self, socket: WebSocket, max_bytes: int) -> None:
        """`max_bytes`: most bytes of the binary frames of one request."""
        self._socket = socket
        self._max_bytes = max_bytes
        self._next: dict[str, Any] | None = None
        """A message that was received in place of a binary frame."""

    async def receive(self) -> tuple[requests.Request, list[bytes]]:
        """The next request with its binary frames.

        Raises:
            BadMessage: a message is not a request, or its frames are missing or too large.
            WebSocketDisconnect: the client is gone.
        """
        text = (await self._message()).get("text")
        request_id = ""
        try:
            if text is None:
                raise invalid("", 'a binary frame follows a request whose "frames" counts it', "wrong-type")
            try:
                value = await off_loop(len(text), read_json, text)
            except (ValueError, RecursionError) as error:
                raise invalid("", f"the message is not JSON: {error}", "not-json") from None
            given = value.get("id") if isinstance(value, dict) else None
            request_id = given[: requests.MAX_ID] if isinstance(given, str) else ""
            request = await off_loop(len(text), requests.read_request, value)
            return request.sized(len(text)), await self._frames(request.frames)
        except LanemeshError as error:
            raise BadMessage(request_id, error) from None

    async def _frames(self, count: int) -> list[bytes]:
        """So many binary frames. Those of a request that is too large are received, but not kept."""
        frames: list[bytes] = []
        size = 0
        for position in range(count):
            message = await self._message()
            content = message.get("bytes")
            if content is None:
                self._next = message
                raise invalid("/frames", f"{count} binary frames follow the request, not {position}")
            size += len(content)
            if size <= self._max_bytes:
                frames.append(content)
            else:
                frames.clear()
        if size > self._max_bytes:
            what = f"the binary frames of a request have at most {self._max_bytes:,} bytes in all, not {size:,}"
            fault = Fault(
                code=Code.OUT_OF_RANGE, reason=Reason.BODY_TOO_LARGE, message=f"{what}. Send several requests"
            )
            raise LanemeshError(fault)
        return frames

    async def _message(self) -> dict[str, Any]:
        message = self._next or dict(await self._socket.receive())
        self._next = None
        if message["type"] != "websocket.receive":
            raise WebSocketDisconnect(message.get("code", 1006))
        return message
