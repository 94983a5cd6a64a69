"""When the servers of a run are done: all of them have finished, and no component is placed again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any

from lanemesh_orchestrator.runs.host_connection import bad_server
from lanemesh_orchestrator.runs.host_handle import HostHandle
from lanemesh_orchestrator.runs.verdict import Verdict

LINGER_SECONDS = 60.0
"""How long node servers may take to finish once every node has ended."""


class RunEnds:
    """Waits for the hosts and for the recovery of one run, which may add hosts."""

    def __init__(
        self, hosts: Collection[HostHandle], verdict: Verdict, recovery: Callable[[], asyncio.Task[None] | None]
    ) -> None:
        """`hosts` are the current ones of the run. `recovery` returns the latest task that places components again."""
        self._hosts = hosts
        self._verdict = verdict
        self._recovery = recovery
        self._all_over: asyncio.Future[None] | None = None
        """Done when all hosts have finished, and no component is placed again."""
        self._watched: set[asyncio.Future[Any]] = set()
        """What `_note_end` is called for."""
        self._lingering: asyncio.TimerHandle | None = None
        """Ends the wait for servers whose nodes have ended."""

    async def wait(self) -> None:
        """Waits until all is over, or until the run has to end."""
        self._all_over = asyncio.get_running_loop().create_future()
        self._watch()
        await self._verdict.until([self._all_over])

    def linger(self) -> None:
        """Handles the end of all nodes: a server that does not finish within `LINGER_SECONDS` fails the run."""
        self._lingering = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._lingered)

    def close(self) -> None:
        """Ends the wait for servers whose nodes have ended."""
        if self._lingering is not None:
            self._lingering.cancel()

    def _lingered(self) -> None:
        what = f"it did not finish within {LINGER_SECONDS:g} s after all nodes had ended"
        self._verdict.add(*(bad_server(host.server, what) for host in self._hosts if not host.finished.done()))

    def _watch(self) -> None:
        """Watches what goes on, some of which may have begun since the last end."""
        going = self._going_on()
        for end in going:
            if end not in self._watched:
                self._watched.add(end)
                end.add_done_callback(self._note_end)
        if not going and self._all_over is not None and not self._all_over.done():
            self._all_over.set_result(None)

    def _note_end(self, end: asyncio.Future[Any]) -> None:
        """Handles the end of a host or of the recovery."""
        self._watched.discard(end)
        self._watch()

    def _going_on(self) -> Sequence[asyncio.Future[Any]]:
        """The hosts and the recovery that have to end before the run does; empty if the run has to stop."""
        if self._verdict.stopping.is_set():
            return []
        ends: list[asyncio.Future[Any]] = [host.finished for host in self._hosts]
        recovery = self._recovery()
        if recovery is not None:
            ends.append(recovery)
        return [end for end in ends if not end.done()]
