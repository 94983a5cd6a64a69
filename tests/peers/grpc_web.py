"""A client of gRPC-Web as a browser is one: HTTP/1.1, frames in the body, the status in a last frame or in headers."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
from google.protobuf.message import Message
from lanemesh.v1 import run_pb2

_HEADER = struct.Struct("!BI")
TRAILERS = 0x80
"""The flag of the frame that has the status."""


@dataclass(frozen=True)
class Answer:
    """The answer to one call."""

    messages: list[bytes]
    status: int
    headers: httpx.Headers


async def call(web: httpx.AsyncClient, method: str, request: Message, *, text: bool = False, token: str = "") -> Answer:
    """Calls a method of RunService. `text`: in base64, which browsers need for streams. `token`: a bearer token."""
    content = request.SerializeToString()
    body = _HEADER.pack(0, len(content)) + content
    kind = "application/grpc-web-text" if text else "application/grpc-web+proto"
    headers = {"content-type": kind, "accept": kind, "x-grpc-web": "1", "origin": "https://app.example"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    answer = await web.post(
        f"/lanemesh.v1.RunService/{method}", content=base64.b64encode(body) if text else body, headers=headers
    )
    assert answer.status_code == 200, answer.text
    assert answer.http_version == "HTTP/1.1"
    frames = list(_frames(_decoded(answer.content) if text else answer.content))
    trailers = dict(
        line.split(":", 1) for flag, data in frames if flag & TRAILERS for line in data.decode().strip().splitlines()
    )
    status = trailers.get("grpc-status") or answer.headers["grpc-status"]
    return Answer([data for flag, data in frames if not flag & TRAILERS], int(status), answer.headers)


async def started(web: httpx.AsyncClient, request: run_pb2.StartRunRequest, *, text: bool = False) -> str:
    """Starts a run. Returns its id."""
    answer = await call(web, "StartRun", request, text=text)
    assert answer.status == 0
    (message,) = answer.messages
    return run_pb2.StartRunResponse.FromString(message).run_id


def _decoded(body: bytes) -> bytes:
    """The bytes of a body in base64, which is padded after each part of a stream."""
    parts = body.replace(b"=", b"= ").split()
    joined, held = b"", b""
    for part in parts:
        held += part
        if len(held) % 4 == 0:
            joined, held = joined + base64.b64decode(held), b""
    assert not held
    return joined


def _frames(body: bytes) -> Iterator[tuple[int, bytes]]:
    while body:
        flag, length = _HEADER.unpack_from(body)
        yield flag, body[_HEADER.size : _HEADER.size + length]
        body = body[_HEADER.size + length :]
