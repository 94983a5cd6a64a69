"""What carries the calls of control connections, of any kind of helper."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import nullcontext
from typing import Any, Protocol

from lanemesh.control.connection import CALL_SECONDS, Connection, Waiting, relay
from lanemesh.control.ends import begin_answer
from lanemesh.control.instance import HelperInstance
from lanemesh.helper_kinds import HelperKind


class HelperLink(Protocol):
    """The way to one helper, for the client that its kind has. Requests and responses are the messages of the kind's service."""

    @property
    def connection(self) -> Connection:
        """The connection, named in errors."""

    def stream(self, method: str, request: Any, timeout: float | None = None) -> AsyncGenerator[Any, None]:
        """Calls a method that streams. Leaving the iteration cancels the call at the helper.

        Args:
            method: the method of the kind's service.
            request: its request.
            timeout: most seconds until the end of the answer; None: as the link says.

        Raises:
            LanemeshError: the helper's own fault, "helper-timeout", or that of the connection.
        """

    async def call(self, method: str, request: Any, timeout: float | None = None) -> Any:
        """Calls a method that returns one response. Arguments and errors are those of `stream`."""

    async def reach(self) -> None:
        """Makes sure that the helper can be called. Raises LanemeshError that names helper, invoker and address."""


class LocalLink:
    """The way to a helper of this process."""

    def __init__(
        self,
        kind: HelperKind,
        helper: HelperInstance,
        timeout: float | None = CALL_SECONDS,
        *,
        invoker: str = "",
        waiting: Waiting | None = None,
    ) -> None:
        """`timeout` bounds a call in seconds unless the call does; None: nothing does. `waiting` is entered around each wait on the
        helper."""
        self.connection = Connection(class_type=kind.name, helper=helper.context.component, invoker=invoker)
        self._kind = kind
        self._helper = helper
        self._timeout = timeout
        self._waiting = waiting

    def stream(self, method: str, request: Any, timeout: float | None = None) -> AsyncGenerator[Any, None]:
        """Calls a method that streams."""
        pieces = begin_answer(self._kind, method, self._helper, request)
        timeout = self._timeout if timeout is None else timeout
        return relay(pieces, self.connection, timeout=timeout, waiting=self._waiting)

    async def call(self, method: str, request: Any, timeout: float | None = None) -> Any:
        """Calls a method that returns one response."""
        timeout = self._timeout if timeout is None else timeout
        async with self._waiting() if self._waiting is not None else nullcontext():
            try:
                async with asyncio.timeout(timeout) as bound:
                    return await begin_answer(self._kind, method, self._helper, request)
            except TimeoutError:
                if bound.expired():
                    raise self.connection.timed_out(timeout) from None
                raise

    async def reach(self) -> None:
        """The helper is here."""
