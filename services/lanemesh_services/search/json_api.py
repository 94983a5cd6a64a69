"""Calls of servers that take and return JSON: with time limits, bounded retries, and errors that name the server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from lanemesh import LanemeshError
from lanemesh.extend import in_thread

from lanemesh_services.shared.hosted_errors import Server, ServerFailed, broken
from lanemesh_services.shared.hosted_http import http_client, http_failure, response_failure

FIRST_PAUSE = 0.5
"""Seconds before the first retry; each further one doubles them, up to 8."""
MOST_PAUSE = 8.0
INLINE_BYTES = 256 * 1024
"""Size above which an answer is read in a worker thread: 256 KiB."""
CONNECTIONS = 16
"""Most connections of a component to its server."""


class JsonApi:
    """A server that takes and returns JSON."""

    def __init__(
        self, server: Server, *, timeout: float, retries: int, retry_seconds: float, header: str = "Authorization"
    ) -> None:
        """Makes the client. Raises ImportError if httpx2 is not installed.

        Args:
            server: the server, with its key.
            timeout: seconds without a byte after which a call fails.
            retries: most retries of a call that may succeed later.
            retry_seconds: most seconds of all pauses of a call.
            header: the header that carries the key: "Authorization" as a bearer token, another one as it is.
        """
        self._server = server
        key = f"Bearer {server.secret}" if header == "Authorization" else server.secret
        self._http = http_client(
            server, (header, key) if server.secret else None, silence=timeout, connections=CONNECTIONS
        )
        self._retries = retries
        self._retry_seconds = retry_seconds

    async def close(self) -> None:
        """Closes its connections."""
        await self._http.aclose()

    async def post(self, path: str, body: Any) -> Any:
        """The JSON answer to a JSON body. Raises ServerFailed or another LanemeshError."""
        return await self._repeated("POST", path, body)

    async def get(self, path: str) -> Any:
        """The JSON answer to a request of a path with its query. Raises ServerFailed or another LanemeshError."""
        return await self._repeated("GET", path, None)

    async def _repeated(self, method: str, path: str, body: Any) -> Any:
        waited, pause = 0.0, FIRST_PAUSE
        for attempt in range(self._retries + 1):
            try:
                return await self._once(method, path, body)
            except ServerFailed as failure:
                wait = pause if failure.retry_after is None else failure.retry_after
                if not failure.transient or attempt == self._retries or waited + wait > self._retry_seconds:
                    raise
            await asyncio.sleep(wait)
            waited, pause = waited + wait, min(2 * pause, MOST_PAUSE)
        raise AssertionError("every attempt returns or raises")

    async def _once(self, method: str, path: str, body: Any) -> Any:
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        headers = {"content-type": "application/json"} if content is not None else {}
        try:
            response = await self._http.request(
                method, f"{self._server.address}{path}", content=content, headers=headers
            )
        except LanemeshError:
            raise
        except Exception as error:
            known = http_failure(self._server, error)
            if known is None:
                raise
            raise known from None
        if response.status_code >= 300:
            raise response_failure(self._server, response.status_code, _message(response.text), response.headers)
        try:
            if len(response.content) > INLINE_BYTES:
                return await in_thread(json.loads, response.content)
            return json.loads(response.content)
        except (ValueError, RecursionError):
            raise broken(self._server, "it is not JSON") from None


def _message(text: str) -> str:
    """The message in the body of an error response, or the body itself."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for key in ("error", "detail", "message"):
        if isinstance(body, dict) and body.get(key):
            body = body[key]
    return body if isinstance(body, str) else json.dumps(body)
