"""Where commands run pipelines: a mesh in this process, spread over processes, or an orchestrator elsewhere."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lanemesh_orchestrator.cli.exits import CommandError

if TYPE_CHECKING:
    from lanemesh.client.run_host import RunHost

Spread = Literal["service", "component"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOptions:
    """The options for where to run."""

    spread: Spread | None = None
    """`--spread`: one process per service, or per component; None: all in this process."""
    mesh: str | None = None
    """`--mesh`: "host:port" of an orchestrator elsewhere."""
    nodes: Sequence[Path] = ()
    """`--nodes`: Python files with node types."""
    folder: Path | None = None
    """The folder of the pipeline's file, which relative paths in it count from; not on a mesh elsewhere."""
    store: str | None = None
    """`--store`: where runs are remembered; not on a mesh elsewhere."""
    read_only: bool = False
    """The store is only looked into."""
    log_level: str = "warning"
    """`--log-level`, for the processes of a spread mesh."""

    def check(self) -> None:
        """Raises `CommandError` for a contradiction."""
        if self.mesh is not None and self.spread is not None:
            raise CommandError("--mesh and --spread cannot both be given: a remote mesh has its own processes.")
        if self.mesh is not None and self.nodes:
            raise CommandError(
                "--nodes is for a mesh of this command. Add node types to a remote mesh with: "
                f"lanemesh node --nodes {self.nodes[0]} --orchestrator {self.mesh}"
            )
        if self.mesh is not None and self.store is not None:
            raise CommandError("--mesh and --store cannot both be given: a remote mesh has its own store.")
        if self.mesh is not None:
            check_address("--mesh", self.mesh)
        check_nodes(self.nodes)


def check_nodes(files: Sequence[Path]) -> None:
    """Raises `CommandError` unless these are files."""
    for file in files:
        if file.is_dir():
            found = sorted(path.name for path in file.glob("*.py"))
            named = file / found[0] if found else file / "FILE.py"
            raise CommandError(f"--nodes {file}: it is a folder. Give a Python file in it, such as {named}.")
        if not file.is_file():
            raise CommandError(f"--nodes {file}: there is no such file. Give a Python file that defines node types.")


def shown_address(options: HostOptions, host: RunHost) -> str | None:
    """Address of the orchestrator as it is shown to the user; None for a mesh that is all in this process."""
    if options.mesh is not None:
        return options.mesh
    orchestrator = getattr(host, "orchestrator", None)
    return str(orchestrator.address) if options.spread is not None and orchestrator is not None else None


def check_address(option: str, address: str) -> None:
    """Raises `CommandError` unless an address is "host:port"."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise CommandError(f"{option} {address}: write an address as host:port, such as 127.0.0.1:7070.")


@asynccontextmanager
async def open_host(options: HostOptions) -> AsyncIterator[RunHost]:
    """Starts the host of these options; leaving stops everything that was started."""
    options.check()
    if options.mesh is not None:
        from lanemesh.client.client import Client

        async with Client(options.mesh) as client:
            yield client
        return
    from lanemesh_orchestrator.mesh import Mesh

    store = None
    if options.store is not None:
        from lanemesh_orchestrator.store.options import StoreOptions

        # One run does not load the models of all deployed pipelines of the store.
        store = StoreOptions(location=options.store, read_only=options.read_only, deployments=False)
    gc.freeze()  # modules stay until the process ends, which would otherwise look through them again and again for garbage
    async with Mesh(
        spread=options.spread,
        nodes=options.nodes,
        folder=options.folder,
        store=store,
        log_level=options.log_level,
    ) as mesh:
        yield mesh
