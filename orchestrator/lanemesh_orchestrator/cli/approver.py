"""Asks on the terminal for the approvals of a run, one after the other."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable

from lanemesh.faults import LanemeshError
from lanemesh.v1 import update_pb2

from lanemesh_orchestrator.cli.output.render import approval_hint, approval_line, approval_question
from lanemesh_orchestrator.cli.output.streams import is_terminal

Decide = Callable[[str, str, bool], Awaitable[None]]
"""Decides an approval: by its id, its component, and whether it is approved. Raises LanemeshError if it is not pending."""

_READ_BYTES = 4096


class Approver:
    """Shows the approvals of a run. On a terminal whose input the run does not use, asks for each of them: y or n."""

    def __init__(
        self,
        decide: Decide,
        note: Callable[[str], None],
        *,
        run_id: Callable[[], str],
        asks: bool,
        mesh: str | None,
    ) -> None:
        """Creates an approver.

        Args:
            decide: decides an approval.
            note: shows a line.
            run_id: the id of the run, for the commands that decide from elsewhere.
            asks: whether standard input is free for answers.
            mesh: the address of the run's mesh; None if no other command reaches it.
        """
        self._decide = decide
        self._note = note
        self._run_id = run_id
        self._mesh = mesh
        self._asks = asks and is_terminal(sys.stdin)
        self._pending: dict[tuple[str, str], update_pb2.ApprovalUpdate] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def take(self, update: update_pb2.Update) -> None:
        """Takes in an update of the run."""
        if update.WhichOneof("kind") != "approval":
            return
        approval = update.approval
        key = approval.component, approval.call_id
        if approval.state != update_pb2.APPROVAL_STATE_REQUESTED:
            self._pending.pop(key, None)
            self._changed.set()
            return
        self._pending[key] = approval
        self._changed.set()
        if self._asks:
            if self._task is None:
                self._task = asyncio.create_task(self._ask_all(), name="approvals")
            return
        self._note(f"{approval_line(approval)}\n{approval_hint(approval, self._run_id(), self._mesh)}")

    async def close(self) -> None:
        """Stops asking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _ask_all(self) -> None:
        while True:
            self._changed.clear()
            if not self._pending:
                await self._changed.wait()
                continue
            await self._ask(next(iter(self._pending)))

    async def _ask(self, key: tuple[str, str]) -> None:
        """Asks until an answer, or until another client has decided."""
        self._note(approval_question(self._pending[key]))
        while key in self._pending:
            answer = await self._answer(key)
            if answer in ("y", "yes", "n", "no"):
                self._pending.pop(key, None)
                try:
                    await self._decide(key[1], key[0], answer.startswith("y"))
                except LanemeshError as error:
                    self._note(error.fault.message)
            elif key in self._pending:
                self._note("Answer y or n.")

    async def _answer(self, key: tuple[str, str]) -> str:
        """The next line of the terminal; empty if the approval was decided meanwhile."""
        loop, line = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
        loop.add_reader(sys.stdin.fileno(), _read_line, line)
        try:
            while key in self._pending and not line.done():
                self._changed.clear()
                changed = asyncio.ensure_future(self._changed.wait())
                try:
                    await asyncio.wait([changed, line], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
            return str(line.result()).strip().lower() if line.done() else ""
        finally:
            loop.remove_reader(sys.stdin.fileno())


def _read_line(line: asyncio.Future[str]) -> None:
    """A terminal gives whole lines. Its end counts as a refusal."""
    if not line.done():
        line.set_result(os.read(sys.stdin.fileno(), _READ_BYTES).decode("utf-8", "replace") or "n")
