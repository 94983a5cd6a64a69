"""The tasks of a mesh as they are now, read from the logs of their runs."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from a2a.utils.errors import InternalError

from lanemesh_orchestrator.a2a_server.contents import TaskContents

if TYPE_CHECKING:
    from lanemesh.client.records import RunRecord
    from lanemesh.client.run_host import RunHost

READ_SECONDS = 30.0
"""How long the reading of one task may take."""
MAX_READS = 4
"""Most tasks that are read at the same time."""
MAX_KEPT = 1_000
"""Most tasks whose contents are kept."""
MAX_KEPT_BYTES = 64 * 1024 * 1024
"""Most bytes of kept contents: 64 MiB."""


class TaskReader:
    """Reads tasks. The contents of the latest ones are kept, so that a client that asks again costs only the updates since."""

    def __init__(self, host: RunHost) -> None:
        self._host = host
        self._kept: OrderedDict[str, TaskContents] = OrderedDict()
        self._limit = asyncio.Semaphore(MAX_READS)

    async def read(self, record: RunRecord, context_id: str) -> TaskContents:
        """The contents of a task, at least up to a record of its run. Updates after the record are not waited for.

        Raises:
            LanemeshError: the mesh cannot be reached.
            InternalError: the reading takes longer than 30 s. It goes on from there when the client asks again.
        """
        contents = self._kept.setdefault(record.run_id, TaskContents(record.run_id, context_id))
        self._kept.move_to_end(record.run_id)
        try:
            async with asyncio.timeout(READ_SECONDS), contents.reading, self._limit:
                if contents.sequence < record.last_sequence:
                    run = self._host.attach(record.run_id, contents.sequence + 1)
                    await contents.read(run, record.last_sequence)
        except TimeoutError:
            message = f"task {record.run_id} could not be read within {READ_SECONDS:g} s. Get it again"
            raise InternalError(message=message) from None
        self._trim()
        return contents

    def _trim(self) -> None:
        size = sum(contents.size for contents in self._kept.values())
        while size > MAX_KEPT_BYTES or len(self._kept) > MAX_KEPT:
            _, oldest = self._kept.popitem(last=False)
            size -= oldest.size
