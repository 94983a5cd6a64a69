"""The files of a folder that are new or have changed since the last look."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from lanemesh_services.shared.open_below import open_below


class TooManyFiles(Exception):
    """More files match than may be kept track of."""


@dataclass(frozen=True, slots=True)
class Version:
    """What distinguishes the contents that a file had."""

    modified: int
    """When it was written last, in nanoseconds since 1970."""
    size: int
    """Its size in bytes."""
    inode: int
    """Its number in the file system: another file with the same name has another one."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Which files of a folder count."""

    globs: Sequence[str]
    """Patterns of relative paths, or of names if they have no "/"."""
    exclude: Sequence[str] = ()
    """The same for files that do not count."""
    recursive: bool = True
    """Files of folders in it count."""
    hidden: bool = False
    """Files and folders whose names begin with a dot count."""
    max_files: int = 100_000
    """Most files."""

    def match(self, path: PurePosixPath) -> bool:
        """Whether a relative path counts."""
        if not self.hidden and any(part.startswith(".") for part in path.parts):
            return False
        return _matches(path, self.globs) and not _matches(path, self.exclude)


class FolderScan:
    """Looks through a folder, again and again."""

    def __init__(self, folder: Path, rules: Rules, *, settle: float, clock: Callable[[], float]) -> None:
        """A scan of a folder.

        Args:
            folder: the folder, resolved. Links that lead out of it are left out.
            rules: which files count.
            settle: seconds that a file has to be unchanged, by its own time or since the first look that found it so, so that one
                that is being written is not taken. Its own time alone may be in the future.
            clock: returns the time in seconds since 1970.
        """
        self._folder = folder
        self._rules = rules
        self._settle = settle
        self._clock = clock
        self._seen: dict[str, Version] = {}
        """The taken files that are still there."""
        self._waiting: dict[str, tuple[Version, float]] = {}
        """The files that are still being written, and when each was first found as it is."""
        self.unsettled = False
        """The last look has left out a file that is still being written."""

    def changed(self) -> list[tuple[str, Version]]:
        """The new and changed files, by their relative paths, in alphabetical order. Blocks.

        Raises:
            TooManyFiles: more files match than the rules permit.
            OSError: the folder cannot be read.
        """
        now = self._clock()
        found: dict[str, Version] = {}
        for path in self._files():
            version = self._version(path)
            if version is None:
                continue
            found[path] = version
            if len(found) > self._rules.max_files:
                raise TooManyFiles
        waiting: dict[str, tuple[Version, float]] = {}
        new = []
        for path in sorted(found):
            if self._seen.get(path) == found[path]:
                continue
            version, since = self._waiting.get(path, (found[path], now))
            since = since if version == found[path] else now
            if now - min(since, found[path].modified / 1e9) < self._settle:
                waiting[path] = found[path], since
            else:
                new.append((path, found[path]))
        self._waiting, self.unsettled = waiting, bool(waiting)
        self._seen = {path: version for path, version in self._seen.items() if path in found}
        return new

    def take(self, path: str, version: Version) -> None:
        """Records that a version of a file was taken."""
        self._seen[path] = version

    def read(self, path: str, most: int) -> bytes:
        """The content of a file.

        Raises:
            ValueError: it has more than `most` bytes.
            OSError: it cannot be read, is no regular file, or a link leads out of the folder.
        """
        whole = (self._folder / path).resolve(strict=True)
        if not whole.is_relative_to(self._folder):  # a link that has taken the place of the file
            raise OSError(0, "a link leads out of the folder")
        descriptor = open_below(self._folder, whole)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(0, "it is no regular file")
            content = file.read(most + 1)
        if len(content) > most:
            raise ValueError(f"it has more than {most:,} bytes")
        return content

    def _files(self) -> Iterator[str]:
        def failed(error: OSError) -> None:
            if error.filename is not None and Path(error.filename) == self._folder:
                raise error

        for folder, folders, files in os.walk(self._folder, onerror=failed):
            relative = PurePosixPath(os.path.relpath(folder, self._folder).replace(os.sep, "/"))
            if not self._rules.recursive:
                folders.clear()
            if not self._rules.hidden:
                folders[:] = [name for name in folders if not name.startswith(".")]
            for name in files:
                path = relative / name
                if self._rules.match(path) and _is_text(name):
                    yield str(path)

    def _version(self, path: str) -> Version | None:
        """The version of a file; None if it is no regular file, is gone, or a link leads out of the folder."""
        whole = self._folder / path
        try:
            if whole.is_symlink() and not whole.resolve().is_relative_to(self._folder):
                return None
            about = whole.stat()
        except OSError:
            return None
        return Version(about.st_mtime_ns, about.st_size, about.st_ino) if stat.S_ISREG(about.st_mode) else None


def _matches(path: PurePosixPath, patterns: Sequence[str]) -> bool:
    """Whether a relative path fits a pattern. A pattern without "/" is for names; "**/" stands for any folders, or none."""
    whole = _wrapped(path.parts)
    return any(
        fnmatch(whole, _path_pattern(pattern)) if "/" in pattern else fnmatch(path.name, pattern)
        for pattern in patterns
    )


def _wrapped(parts: Sequence[str]) -> str:
    """The parts of a path, each between two slashes of its own, so that what stands for folders between them may be empty."""
    return "".join(f"/{part}/" for part in parts)


def _path_pattern(pattern: str) -> str:
    """A pattern of paths for what `_wrapped` returns."""
    *folders, name = pattern.split("/")
    return "".join("*" if part == "**" else _wrapped([part]) for part in folders) + _wrapped([name])


def _is_text(name: str) -> bool:
    """Whether a name is valid Unicode, as lanes need it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
