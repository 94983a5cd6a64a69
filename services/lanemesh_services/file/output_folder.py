"""Files that are put into a folder: complete at once, under names of their own, and never anywhere else."""

from __future__ import annotations

import errno
import itertools
import mimetypes
import os
import secrets
from collections import OrderedDict
from pathlib import Path, PurePosixPath

MAX_NAME_BYTES = 200
"""Longest name of a file in bytes, before a number is added; file systems permit 255."""
MAX_COUNTED = 10_000
"""Most names whose last number is remembered."""
NAMELESS = "file"
"""Name of files for which no other one is left."""
_EXTENSIONS = {
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "image/jpeg": ".jpg",
    "audio/mpeg": ".mp3",
    "text/plain": ".txt",
}
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})


def extension_of(mime_type: str) -> str:
    """The ending of the names of files of a media type, such as ".png"; ".bin" if it is not known."""
    kind = mime_type.partition(";")[0].strip().lower()
    return _EXTENSIONS.get(kind) or mimetypes.guess_extension(kind, strict=False) or ".bin"


def safe_name(given: str, default: str) -> str:
    """The name of a file without folders, characters that are not printable, and leading dots, at most 200 bytes long: that of
    `given`, or if nothing is left of it that of `default`."""
    return _one_part(given) or _one_part(default) or NAMELESS


def _one_part(given: str) -> str:
    """A name as `safe_name` returns it; empty if nothing is left."""
    last = PurePosixPath(given.replace("\\", "/")).name
    name = "".join(character for character in last if character.isprintable() and character not in '<>:"|?*')
    name = name.strip().lstrip(".").strip()
    if not name:
        return ""
    path = PurePosixPath(name)
    most = MAX_NAME_BYTES - len(path.suffix.encode())
    if most < 1:
        return ""
    stem = path.stem.encode()[:most].decode(errors="ignore")
    return f"{stem}{path.suffix}" if stem else ""


class Folder:
    """A folder that takes files."""

    def __init__(self, path: Path) -> None:
        """The folder is made if it does not exist. Raises OSError."""
        self.path = path.expanduser().absolute()
        self.path.mkdir(parents=True, exist_ok=True)
        self._numbers: OrderedDict[str, int] = OrderedDict()
        """The last number of names that were taken."""

    def put(self, name: str, content: bytes) -> Path:
        """Writes a file under a name, or if there is one already under the name with a number, as "a-2.txt". It appears at once
        and complete. Blocks.

        Args:
            name: a name as `safe_name` returns it.
            content: the content.

        Raises:
            OSError: it cannot be written.
            ValueError: the name is that of a file elsewhere, or of a folder.
        """
        if name in ("", ".", "..") or name != os.path.basename(name):
            raise ValueError(f"{name!r} is not the name of a file in the folder")
        temporary = self.path / f".lanemesh-{secrets.token_hex(8)}"
        try:
            with open(temporary, "xb") as file:
                file.write(content)
            return self._place(temporary, name)
        finally:
            temporary.unlink(missing_ok=True)

    def _place(self, temporary: Path, name: str) -> Path:
        for number in itertools.count(self._numbers.get(name, 0) + 1):
            stem, suffix = os.path.splitext(name)
            target = self.path / (name if number == 1 else f"{stem}-{number}{suffix}")
            try:
                _link(temporary, target)
            except FileExistsError:
                continue
            self._numbers[name] = number
            self._numbers.move_to_end(name)
            if len(self._numbers) > MAX_COUNTED:
                self._numbers.popitem(last=False)
            return target
        raise AssertionError("the numbers do not end")


def _link(temporary: Path, target: Path) -> None:
    """Gives a file a second name, which must be free. Raises FileExistsError if it is not."""
    try:
        os.link(temporary, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # The file system has no links: reserve the name, then replace the empty file.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        os.replace(temporary, target)
