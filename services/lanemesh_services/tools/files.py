"""The files of a folder as tools: list, read, search, and write where that is permitted."""

from __future__ import annotations

import fnmatch
import mimetypes
import os
import secrets
import threading
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from lanemesh import Context, Image, ToolContext, ToolNode, ToolSpec, tool
from lanemesh.extend import CallFailed, ToolFunction, in_thread
from pydantic import BaseModel, Field

from lanemesh_services.tools.folders import Folder

MAX_SEARCHED = 5_000_000
"""Largest file that is searched, in bytes."""
MAX_LINE = 2_000
"""Longest line that is returned, in characters; the rest of it is cut off."""
MAX_IMAGE = 4_000_000
"""Largest image that is returned, in bytes."""
MAX_WRITTEN = 1_000_000
"""Longest text that is written, in characters."""
_CUT = "...\n"
"""What ends a line that was cut."""
_WRITING = ("write_file", "edit_file")
_CHANGING = tuple(threading.Lock() for _ in range(64))
"""Each file has one of these locks, which is held from reading it to replacing it: calls change a file one after the other."""

PathOf = Annotated[str, Field(max_length=4_096)]


class ToolFiles(ToolNode):
    """Offers the files of a folder as tools: list, read and search them; write and edit them where settings and node server permit
    it.

    No path leads out of the folder: symbolic links are resolved first. Files and folders whose names begin with a dot are hidden by
    default.
    """

    class Config(BaseModel):
        """Settings of the files."""

        root: str = Field(description="Path of the folder.", json_schema_extra={"format": "path"})
        write: bool = Field(
            False,
            description="Files may be written. The node server has to permit that too: `lanemesh node --allow write`.",
        )
        hidden: bool = Field(False, description="Files and folders whose names begin with a dot belong to it.")
        max_bytes: int = Field(100_000, ge=1_000, le=2_000_000, description="Most bytes that one call returns.")

    @classmethod
    async def load(cls, config: Any) -> Folder:
        """Resolves the folder. Raises LanemeshError if there is none."""
        return await in_thread(lambda: Folder.of(cls.provider, config.root, hidden=config.hidden))

    def tools(self) -> Mapping[str, ToolFunction]:
        """The tools; those that write only if the settings have that."""
        return {
            name: function for name, function in super().tools().items() if self.config.write or name not in _WRITING
        }

    async def list_tools(self, context: Context) -> list[ToolSpec]:
        """The tools. Raises LanemeshError ("not-permitted") if the settings let it write, and the node server does not."""
        if self.config.write:
            context.permissions.check("write", context.component, "write files")
        return await super().list_tools(context)

    @tool(timeout=30)
    def list_files(
        self,
        context: ToolContext,
        path: PathOf = ".",
        pattern: str = "*",
        recursive: bool = False,
        limit: Annotated[int, Field(ge=1, le=2_000)] = 200,
    ) -> dict[str, Any]:
        """Lists the files and folders in a folder.

        Args:
            path: The folder, relative to the root.
            pattern: Which names, such as "*.py".
            recursive: With those of the folders in it.
            limit: Most entries.
        """
        folder: Folder = self.resource
        start = folder.existing(path)
        if not start.is_dir():
            raise CallFailed("not-a-folder", f"{path} is not a folder. Read it as a file")
        found = (
            entry
            for entry in folder.walk(start, recursive=recursive, stop=lambda: context.cancelled)
            if fnmatch.fnmatchcase(entry.name, pattern)
        )
        entries = [_entry(folder, entry) for entry in islice(found, limit)]
        return {"entries": entries, "more": next(found, None) is not None}

    @tool(timeout=30)
    def read_file(
        self,
        path: PathOf,
        context: ToolContext,
        start: Annotated[int, Field(ge=1)] = 1,
        lines: Annotated[int, Field(ge=1, le=10_000)] = 500,
    ) -> Any:
        """Reads lines of a text file, or an image.

        Args:
            path: The file, relative to the root.
            start: The first line, from 1.
            lines: Most lines.
        """
        folder: Folder = self.resource
        whole = folder.existing(path)
        kind = mimetypes.guess_type(whole.name)[0] or ""
        if kind.startswith("image/") and whole.suffix != ".svg":
            return _image(folder, whole, kind)
        chosen: list[str] = []
        size = number = 0
        more = False
        with folder.open(whole) as file:
            if b"\0" in file.read(1024):
                size = os.fstat(file.fileno()).st_size
                raise CallFailed("not-text", f"{path} is not a text file; it has {size:,} bytes")
            file.seek(0)
            for number, line in enumerate(_lines(file), 1):
                if number < start:
                    if number % 1000 == 0 and context.cancelled:
                        break
                    continue
                if not chosen:
                    line = _shortened(line, self.config.max_bytes)
                size += len(line.encode())
                more = len(chosen) == lines or size > self.config.max_bytes
                if more:
                    break
                chosen.append(line)
        if not chosen and number < start and number:
            raise CallFailed("bad-arguments", f"{path} has only {number} lines")
        end = start + len(chosen) - 1
        return {"path": folder.name(whole), "text": "".join(chosen), "start": start, "end": end, "more": more}

    @tool(timeout=60)
    def search_files(
        self,
        text: Annotated[str, Field(min_length=1, max_length=1_000)],
        context: ToolContext,
        path: PathOf = ".",
        pattern: str = "*",
        ignore_case: bool = False,
        limit: Annotated[int, Field(ge=1, le=1_000)] = 100,
    ) -> dict[str, Any]:
        """Searches the lines of text files for a text.

        Args:
            text: What the lines contain, as it is.
            path: The file or the folder to search, relative to the root.
            pattern: Which files, such as "*.py".
            ignore_case: Upper and lower case are the same.
            limit: Most lines.
        """
        folder: Folder = self.resource
        start = folder.existing(path)
        wanted = text.casefold() if ignore_case else text
        matches: list[dict[str, Any]] = []
        for file in self._searched(start, pattern, context):
            for number, line in enumerate(_text_lines(folder, file), 1):
                if wanted not in (line.casefold() if ignore_case else line):
                    continue
                if len(matches) == limit:
                    return {"matches": matches, "more": True}
                matches.append({"path": folder.name(file), "line": number, "text": line.strip()[:MAX_LINE]})
        return {"matches": matches, "more": False}

    @tool(timeout=30)
    def write_file(
        self, path: PathOf, text: Annotated[str, Field(max_length=MAX_WRITTEN)], context: Context, append: bool = False
    ) -> dict[str, Any]:
        """Writes a text file. Folders are made as needed.

        Args:
            path: The file, relative to the root.
            text: Its text.
            append: The text is added to the end of the file; otherwise it replaces the file.
        """
        whole = self._writable(context, path)
        with _changing(whole):
            if append and os.path.exists(whole):
                text = self._text(whole) + text
            self._replace(whole, text)
        return {"path": self.resource.name(whole), "bytes": len(text.encode())}

    @tool(timeout=30)
    def edit_file(
        self,
        path: PathOf,
        old: Annotated[str, Field(min_length=1, max_length=MAX_WRITTEN)],
        new: Annotated[str, Field(max_length=MAX_WRITTEN)],
        context: Context,
    ) -> dict[str, Any]:
        """Replaces a text in a file.

        Args:
            path: The file, relative to the root.
            old: The text to replace. It must be in the file exactly once.
            new: What replaces it.
        """
        whole = self._writable(context, path)
        with _changing(whole):
            text = self._text(whole)
            count = text.count(old)
            if count != 1:
                raise CallFailed(
                    "bad-arguments", f"{path} has the text {count} times. Give a text that it has exactly once"
                )
            self._replace(whole, text.replace(old, new))
        return {"path": self.resource.name(whole), "line": text[: text.index(old)].count("\n") + 1}

    def _searched(self, start: Path, pattern: str, context: ToolContext) -> Any:
        if start.is_file():
            yield start
            return
        for entry in self.resource.walk(start, recursive=True, stop=lambda: context.cancelled):
            if context.cancelled:
                return
            if entry.is_file(follow_symlinks=False) and fnmatch.fnmatchcase(entry.name, pattern):
                yield Path(entry.path)

    def _writable(self, context: Context, path: str) -> Path:
        context.permissions.check("write", context.component, "write files")
        whole: Path = self.resource.path(path)
        if os.path.exists(whole) and not whole.is_file():
            raise CallFailed("not-a-file", f"{path} is not a file")
        return whole

    def _text(self, path: Path) -> str:
        with self.resource.open(path) as file:
            content = file.read(MAX_SEARCHED + 1)
        if len(content) > MAX_SEARCHED:
            raise CallFailed("too-large", f"{self.resource.name(path)} has more than {MAX_SEARCHED:,} bytes")
        try:
            return str(content.decode())
        except UnicodeDecodeError:
            raise CallFailed("not-text", f"{self.resource.name(path)} is not a text file in UTF-8") from None

    def _replace(self, path: Path, text: str) -> None:
        """Writes a file in one step: readers see the old or the new one."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}")
            try:
                beside.write_text(text, encoding="utf-8", newline="")
                if path.exists():
                    beside.chmod(path.stat().st_mode)
                beside.replace(path)
            finally:
                beside.unlink(missing_ok=True)
        except (OSError, ValueError) as error:
            raise CallFailed("not-written", f"{self.resource.name(path)} cannot be written: {error}") from None


def _changing(path: Path) -> threading.Lock:
    """The lock of a file, in all components of the process. Some files share one."""
    return _CHANGING[hash(path) % len(_CHANGING)]


def _entry(folder: Folder, entry: os.DirEntry[str]) -> dict[str, Any]:
    path = Path(entry.path)
    if entry.is_symlink():
        return {"path": folder.name(path), "type": "link"}
    if entry.is_dir(follow_symlinks=False):
        return {"path": folder.name(path), "type": "folder"}
    try:
        return {"path": folder.name(path), "type": "file", "bytes": entry.stat(follow_symlinks=False).st_size}
    except OSError:  # it is gone
        return {"path": folder.name(path), "type": "file"}


def _image(folder: Folder, path: Path, kind: str) -> Image:
    with folder.open(path) as file:
        content = file.read(MAX_IMAGE + 1)
    if len(content) > MAX_IMAGE:
        raise CallFailed("too-large", f"the image {folder.name(path)} has more than {MAX_IMAGE:,} bytes")
    return Image(kind, content)


def _lines(file: Any) -> Any:
    """The lines of a file as text, each cut at its bound."""
    while line := file.readline(4 * MAX_LINE):
        ended, whole = line.endswith(b"\n"), True
        while not ended and (rest := file.readline(1_000_000)):
            ended, whole = rest.endswith(b"\n"), False
        text = line.decode("utf-8", "replace")
        yield text if whole and len(text) <= MAX_LINE else text[:MAX_LINE] + _CUT


def _shortened(line: str, limit: int) -> str:
    """A line, cut if it has more bytes than the limit."""
    content = line.encode()
    return line if len(content) <= limit else content[: limit - len(_CUT)].decode("utf-8", "ignore") + _CUT


def _text_lines(folder: Folder, path: Path) -> Any:
    """The lines of a text file; none of another one, of a large one, or of one that cannot be read."""
    try:
        with folder.open(path) as file:
            if os.fstat(file.fileno()).st_size > MAX_SEARCHED:
                return
            content = file.read(MAX_SEARCHED)
    except CallFailed:
        return
    if b"\0" not in content[:1024]:
        yield from content.decode("utf-8", "replace").split("\n")  # as `read_file` counts them
