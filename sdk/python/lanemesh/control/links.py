"""The links of control connections within this process, for every kind of helper."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import nullcontext
from typing import Any

from lanemesh.control.connection import CALL_SECONDS, Connection, Waiting, relay
from lanemesh.control.ends import begin_answer
from lanemesh.control.instance import HelperInstance
from lanemesh.helper_kinds import HelperKind


class LocalLink:
    """The link to a helper of this process."""

    def __init__(
        self,
        kind: HelperKind,
        helper: HelperInstance,
        timeout: float | None = CALL_SECONDS,
        *,
        invoker: str = "",
        waiting: Waiting | None = None,
    ) -> None:
        """`timeout` limits a call in seconds unless the call has its own limit; None: no limit. `waiting` is entered around each
        wait on the helper."""
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
        """Does nothing: the helper is in this process."""
