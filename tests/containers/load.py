"""Runs of a deployed pipeline, several at a time, while something is done to the mesh."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import TracebackType
from typing import Any

from lanemesh import Client
from lanemesh.faults import LanemeshError

from containers.engine import say

NAME = "@loud"
"""The deployed pipeline."""
CLIENTS = 4
RUN_SECONDS = 60.0
"""Time limit of a run. None may take longer."""
PAUSE_SECONDS = 0.2
"""After a run that failed."""


def loud() -> dict[str, Any]:
    """Writes a text in capitals, on a server of the service `text`."""
    return {
        "components": [
            {"id": "chat", "provider": "chat"},
            {"id": "upper", "provider": "upper_case", "input": [{"lane": "text", "from": "chat"}]},
            {"id": "out", "provider": "response", "input": [{"lane": "text", "from": "upper"}]},
        ]
    }


class Load:
    """Runs until the context ends. `completed` counts the right ones, `failed` has the faults of the others by reason."""

    def __init__(self, client: Client) -> None:
        self.completed = 0
        self.failed: Counter[str] = Counter()
        self._client = client
        self._over = asyncio.Event()
        self._more = asyncio.Condition()
        self._clients: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._clients = [asyncio.create_task(self._client_task(number)) for number in range(CLIENTS)]
        await self.await_completed(1)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        ended = await asyncio.gather(*self._clients, return_exceptions=True)
        for end in ended:
            if isinstance(end, BaseException) and error is None:
                raise end
        failed = ", ".join(f"{count} {reason}" for reason, count in self.failed.items()) or "none"
        say(f"    {self.completed} runs completed; failed: {failed}")

    async def await_completed(self, more: int) -> None:
        """Waits until so many more runs have completed. Raises TimeoutError if that takes longer than a run may take."""
        goal = self.completed + more
        async with asyncio.timeout(RUN_SECONDS), self._more:
            await self._more.wait_for(lambda: self.completed >= goal)

    async def _client_task(self, client: int) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            text = f"run {number} of client {client}"
            try:
                answer = await self._client.request(NAME, text, timeout=RUN_SECONDS).text()
            except LanemeshError as error:
                fault = error.fault
                if not fault.reason or not fault.message:
                    raise AssertionError(f"a run failed without a cause: {fault}") from error
                self.failed[f"{fault.reason} ({fault.message[:90]})"] += 1
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if answer != text.upper():
                raise AssertionError(f"{answer!r} instead of {text.upper()!r}")
            async with self._more:
                self.completed += 1
                self._more.notify_all()
