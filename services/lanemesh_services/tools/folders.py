"""Paths below a root folder: symbolic links are resolved, and nothing outside the root is reached."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from lanemesh.extend import CallFailed

from lanemesh_services.shared.open_below import open_below
from lanemesh_services.tools.errors import bad_setting

MAX_PATH = 4_096
"""Longest path in characters."""


class Folder:
    """A root folder."""

    def __init__(self, root: Path, *, hidden: bool) -> None:
        """`root` is absolute, without symbolic links; `hidden`: files and folders whose names begin with "." belong to it."""
        self.root = root
        self._hidden = hidden

    @classmethod
    def of(cls, where: str, root: str, *, hidden: bool) -> Folder:
        """The root folder of a component's settings. Raises LanemeshError if it is empty, or not a folder."""
        if not root:  # `Path` takes it for the working directory, which need not be under the file roots
            raise bad_setting(where, "root", "is empty", _HINT)
        try:
            resolved = Path(root).expanduser().resolve(strict=True)
        except (OSError, RuntimeError, ValueError) as error:
            raise bad_setting(where, "root", f"names {root!r:.200}, which cannot be opened: {error}", _HINT) from None
        if not resolved.is_dir():
            raise bad_setting(where, "root", f"names {root!r:.200}, which is not a folder", _HINT)
        return cls(resolved, hidden=hidden)

    def path(self, name: str) -> Path:
        """The path of a file or folder, which need not exist, without symbolic links.

        Raises:
            CallFailed: "path-not-allowed": it is outside the root, or hidden.
        """
        if len(name) > MAX_PATH or "\0" in name:
            raise CallFailed("bad-arguments", "the path is too long, or contains a NUL character")
        try:
            path = (
                (self.root / name.lstrip("/")).resolve()
                if not name.startswith(str(self.root))
                else Path(name).resolve()
            )
        except (OSError, RuntimeError) as error:  # a loop of links
            raise CallFailed("path-not-allowed", f"{name!r:.200} cannot be resolved: {error}") from None
        if not path.is_relative_to(self.root):
            raise CallFailed("path-not-allowed", f"{name!r:.200} is outside the root folder. Use a path relative to it")
        if self.is_hidden(path):
            raise CallFailed("path-not-allowed", f"{name!r:.200} is hidden: a part of it begins with a dot")
        return path

    def existing(self, name: str) -> Path:
        """The path of a file or folder that exists. Raises CallFailed as `path` does, and "no-such-file"."""
        path = self.path(name)
        if not os.path.exists(path):
            raise CallFailed(
                "no-such-file", f"there is no {name!r:.200} below the root folder. List the files to see the names"
            )
        return path

    def is_hidden(self, path: Path) -> bool:
        """Whether a path below the root has a name that begins with a dot, and such names do not belong to the folder."""
        return not self._hidden and any(part.startswith(".") for part in path.relative_to(self.root).parts)

    def name(self, path: Path) -> str:
        """A path as models see it: relative to the root."""
        return path.relative_to(self.root).as_posix()

    def open(self, path: Path) -> IO[bytes]:
        """Opens a regular file for reading. Raises CallFailed ("not-a-file")."""
        try:
            descriptor = open_below(self.root, path)
        except OSError as error:
            raise CallFailed("not-a-file", f"{self.name(path)} cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise CallFailed("not-a-file", f"{self.name(path)} is not a file")
        return os.fdopen(descriptor, "rb")

    def walk(self, start: Path, *, recursive: bool, stop: Callable[[], bool]) -> Iterator[os.DirEntry[str]]:
        """The entries of a folder in alphabetical order, and of the folders in it. Symbolic links are not followed.

        Args:
            start: the folder.
            recursive: with those of the folders in it.
            stop: ends the walk when it returns True.
        """
        waiting = [start]
        while waiting and not stop():
            folder = waiting.pop()
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError:  # it is gone, or must not be read
                continue
            entries = [entry for entry in entries if not self.is_hidden(Path(entry.path))]
            yield from entries
            if recursive:
                waiting += [Path(entry.path) for entry in reversed(entries) if entry.is_dir(follow_symlinks=False)]


_HINT = (
    "Give the path of a folder; a relative one counts from the folder of the pipeline's file, or of the node server."
)
