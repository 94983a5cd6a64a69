"""A mesh of real processes on this machine, each of which can be killed, frozen, drained and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from rigs.ports import free_port

HERE = Path(__file__).parent
END_SECONDS = 20.0
"""How long a process may take to end that was asked to, before it is killed."""


class Process:
    """One server of the mesh: the same command, however often it is started."""

    def __init__(self, name: str, arguments: list[str], folder: Path) -> None:
        self.name = name
        self.frozen = False
        self._arguments = arguments
        self._log = folder / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def is_up(self) -> bool:
        """It runs, or is frozen."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Starts it, unless it runs."""
        if self.is_up:
            return
        self.frozen = False
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "lanemesh_orchestrator.cli", *self._arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for who runs the chaos
            )

    async def kill(self) -> None:
        """Ends it with SIGKILL, and waits until it is gone."""
        self._send(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()

    async def end(self) -> None:
        """Asks it to end, waits for 20 s at most, and kills it."""
        self.thaw()
        self._send(signal.SIGTERM)
        if self._process is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await self._process.wait()
        await self.kill()

    def freeze(self) -> None:
        """Stops it where it stands."""
        self.frozen = True
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on."""
        self.frozen = False
        self._send(signal.SIGCONT)

    def log(self) -> str:
        """The last of what it has logged."""
        return self._log.read_text(errors="replace")[-4_000:] if self._log.exists() else ""

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)


class Cluster:
    """An orchestrator with a store, and two node servers for each node type of the load."""

    def __init__(self, folder: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.store = folder / "runs.sqlite"
        serve = ["serve", "--port", self.address.rpartition(":")[2], "--store", str(self.store)]
        self.orchestrator = Process("orchestrator", serve, folder)
        self.servers = [
            Process(f"{kind}-{number}", ["node", "--nodes", str(HERE / f"{kind}.py"), *self._join()], folder)
            for kind in ("tickers", "relays")
            for number in (1, 2)
        ]

    @property
    def processes(self) -> list[Process]:
        """All of them."""
        return [self.orchestrator, *self.servers]

    async def start(self) -> None:
        """Starts what does not run, and lets go on what is frozen."""
        for process in self.processes:
            process.thaw()
            await process.start()

    async def close(self) -> None:
        """Ends every process."""
        for process in self.processes:
            process.thaw()
        await asyncio.gather(*(process.kill() for process in self.processes))

    def _join(self) -> list[str]:
        return ["--orchestrator", self.address]
