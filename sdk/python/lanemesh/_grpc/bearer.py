"""The bearer token of calls: each call of a connection carries it in its metadata."""

from __future__ import annotations

import codecs
import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

from lanemesh._grpc.security import TOKEN_FILE, Security, bad_security, check_token
from lanemesh.faults import LanemeshError
from lanemesh.redaction import hide_in_log

log = logging.getLogger("lanemesh.auth")

KEY = "authorization"
"""The metadata key of the token."""
MAX_TOKEN = 16 * 1024
"""Largest file with a token, in bytes."""

_CALLER: ContextVar[str | None] = ContextVar("lanemesh_token_of_caller", default=None)


@contextlib.contextmanager
def token_of_caller(token: str) -> Iterator[None]:
    """Context manager: calls in this context, and in tasks that it starts, carry this token instead of that of the process. Empty:
    they carry none."""
    before = _CALLER.set(token)
    try:
        yield
    finally:
        _CALLER.reset(before)


class BearerToken:
    """The token that a process sends."""

    def __init__(self, security: Security) -> None:
        """Raises LanemeshError ("bad-security") if the file with the token cannot be read."""
        self._file = security.token_file
        self._forwards = security.forwards_tokens
        self._stamp = _stamp(self._file) if self._file is not None else None
        self._token = _read(self._file) if self._file is not None else security.token
        hide_in_log(self._token)

    def __repr__(self) -> str:
        return "BearerToken(***)"

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a call carries: nothing if there is no token. A changed file that holds none is not used, which is logged once."""
        caller = _CALLER.get() if self._forwards else None
        token = self.current() if caller is None else caller
        return ((KEY, f"Bearer {token}"),) if token else ()

    def current(self) -> str:
        """The token of the process; empty if it has none."""
        self._read_if_changed()
        return self._token

    def _read_if_changed(self) -> None:
        if self._file is None or (stamp := _stamp(self._file)) == self._stamp:
            return
        self._stamp = stamp
        try:
            self._token = _read(self._file)
            hide_in_log(self._token)
        except LanemeshError as error:
            log.warning("the token before remains in use: %s", error)


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_TOKEN + 1)
    except OSError as error:
        raise bad_security(f"{file}, which {TOKEN_FILE} names, cannot be read: {error.strerror or error}") from None
    token = content.removeprefix(codecs.BOM_UTF8).decode("latin-1").strip()
    if not token or len(content) > MAX_TOKEN:
        raise bad_security(f"{file}, which {TOKEN_FILE} names, holds no token of at most {MAX_TOKEN // 1024} KiB")
    check_token(token, str(file))
    return token


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


class BearerChannel(grpc.aio.Channel):
    """A connection whose calls carry a token.

    gRPC's interceptors would put a queue between a caller and its stream, and its call credentials need TLS, also to this machine.
    """

    def __init__(self, channel: grpc.aio.Channel, token: BearerToken) -> None:
        self._channel = channel
        self._token = token

    async def __aenter__(self) -> BearerChannel:
        await self._channel.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.__aexit__(kind, error, trace)

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        return self._with_token(self._channel.unary_unary(*arguments, **options))

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        return self._with_token(self._channel.unary_stream(*arguments, **options))

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        return self._with_token(self._channel.stream_unary(*arguments, **options))

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        return self._with_token(self._channel.stream_stream(*arguments, **options))

    def _with_token(self, method: Any) -> Any:
        token = self._token

        def call(*arguments: Any, metadata: Any = None, **options: Any) -> Any:
            return method(*arguments, metadata=(*(metadata or ()), *token.metadata()), **options)

        return call
