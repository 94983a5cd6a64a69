"""`directory`: sends the files of a folder, and those that come or change."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any, ClassVar

from lanemesh import Audio, Context, Document, Envelope, Image, Inputs, Node, Out, Outputs, Tags, Video
from lanemesh.extend import FILE_NAME, file_items, file_value, in_thread
from pydantic import BaseModel, Field

from lanemesh_services.file.errors import folder_unusable, too_many_files
from lanemesh_services.file.folder_scan import FolderScan, Rules, TooManyFiles, Version
from lanemesh_services.file.sending import connected_forms, file_forms

MEBIBYTE = 1024 * 1024
WHOLE_BYTES = 8 * MEBIBYTE
"""Largest file that is one item of `tags`."""
Patterns = Annotated[list[Annotated[str, Field(min_length=1, max_length=1_000)]], Field(max_length=100)]


class Directory(Node):
    """Sends each file of a folder, then each one that is added or changed: texts as text and documents, media by their type, and
    files of other types as documents for `parse`.

    The source of a document is its path in the folder. A file is sent once for each version of it. A file that cannot be read is
    logged and left out.
    """

    feeds_itself: ClassVar = True

    class Config(BaseModel):
        """Settings of the folder."""

        path: Path = Field(description="The folder, on the node server.")
        globs: Patterns = Field(["*"], description='Which files, such as "*.pdf" or "reports/**/*.md".')
        exclude: Patterns = Field([], description="Which files not, in the same form.")
        recursive: bool = Field(True, description="Also the files of folders in it.")
        hidden: bool = Field(False, description="Also files and folders whose names begin with a dot.")
        watch: bool = Field(True, description="Waits for new and changed files; false: ends after the first pass.")
        settle: float = Field(
            0.5, ge=0, le=3600, description="Seconds that a watched file has to be unchanged before it is sent."
        )
        interval: float = Field(
            2.0, ge=0.05, le=3600, description="Seconds between two looks, where watchfiles is not installed."
        )
        max_files: int = Field(100_000, ge=1, le=1_000_000, description="Most files that match; more are an error.")
        max_bytes: int = Field(
            256 * MEBIBYTE, ge=1, le=256 * MEBIBYTE, description="Largest file in bytes; larger ones are left out."
        )

    text: Out[str]
    documents: Out[Document]
    image: Out[Image]
    audio: Out[Audio]
    video: Out[Video]
    tags: Out[Tags]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Sends the files. Raises FolderUnusable."""
        folder = await in_thread(_resolved, self.config.path)
        if folder is None:
            path = str(self.config.path)
            raise folder_unusable(
                context.component, path, "it is not a folder", "Set config.path to a folder of the node server"
            )
        rules = Rules(
            *(self.config.globs, self.config.exclude, self.config.recursive, self.config.hidden, self.config.max_files)
        )
        scan = FolderScan(folder, rules, settle=self.config.settle if self.config.watch else 0.0, clock=time.time)
        changes = _changes(folder, self.config.interval) if self.config.watch else None
        try:
            while True:
                for path, version in await self._changed(context, scan, folder):
                    if not await self._send(context, outputs, scan, path, version):
                        return
                if changes is None:
                    return
                if scan.unsettled:
                    await asyncio.sleep(self.config.settle)
                else:
                    await anext(changes)
        finally:
            if changes is not None:
                await changes.aclose()

    async def _changed(self, context: Context, scan: FolderScan, folder: Path) -> list[tuple[str, Version]]:
        try:
            return await in_thread(scan.changed)
        except TooManyFiles:
            raise too_many_files(context.component, str(folder), self.config.max_files) from None
        except OSError as error:
            why = error.strerror or str(error)
            raise folder_unusable(context.component, str(folder), why, "Make the folder readable") from None

    async def _send(self, context: Context, outputs: Outputs, scan: FolderScan, path: str, version: Version) -> bool:
        """Sends a file. Returns False when no consumer takes any more."""
        scan.take(path, version)
        try:
            content = await in_thread(scan.read, path, self.config.max_bytes)
        except (OSError, ValueError) as error:
            context.log.warning("%s is left out: %s", path, getattr(error, "strerror", None) or error)
            return True
        value: Any = file_value(path, content)
        ports = connected_forms(file_forms(value, path), context.connected_outputs)
        if len(content) > WHOLE_BYTES and ports.pop("tags", None) is not None:
            context.log.warning("%s does not leave by tags, which carry at most 8 MiB; connect documents", path)
        if not ports:
            context.log.warning("%s is left out: no connected output carries a file of its type", path)
        wanted = not ports
        for port, one in ports.items():
            if port == "documents" and one.file is not None:
                for item in file_items(one, Envelope(metadata={FILE_NAME: path})):
                    wanted = await outputs.emit(port, item.value, item.envelope) or wanted
                continue
            wanted = await outputs.emit(port, one, Envelope(metadata={FILE_NAME: path})) or wanted
        return wanted


def _resolved(path: Path) -> Path | None:
    """The folder without links; None if there is none."""
    try:
        folder = path.expanduser().resolve()
    except (OSError, RuntimeError):  # a loop of links, an unknown home
        return None
    return folder if folder.is_dir() else None


async def _changes(folder: Path, interval: float) -> AsyncGenerator[None, None]:
    """Yields whenever something in a folder may have changed: as the system reports it, or where watchfiles is not installed
    after each interval in seconds."""
    try:
        from watchfiles import awatch
    except ImportError:
        while True:
            await asyncio.sleep(interval)
            yield
    stop = asyncio.Event()
    # A timeout without changes yields as well, so that a file system that reports none is looked through too.
    watcher = awatch(folder, stop_event=stop, watch_filter=None, rust_timeout=5_000, yield_on_timeout=True)
    async with contextlib.aclosing(watcher) as seen:
        try:
            async for _ in seen:
                yield
        finally:
            stop.set()
