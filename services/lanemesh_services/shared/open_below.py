"""Opens files below a folder without following a link that has taken the place of a part of their path."""

from __future__ import annotations

import os
from pathlib import Path

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_below(folder: Path, path: Path) -> int:
    """Opens a file for reading, part by part of its path. It need not be a regular file; opening one does not block.

    Args:
        folder: the folder, resolved.
        path: the path of the file below it, resolved.

    Returns:
        A file descriptor, which the caller closes.

    Raises:
        OSError: there is no such file, it must not be read, or a part of the path is a link by now.
        ValueError: the path is not below the folder.
    """
    *folders, name = path.relative_to(folder).parts or (".",)
    descriptor = os.open(folder, _READ | os.O_DIRECTORY)
    try:
        for part in folders:
            inner = os.open(part, _READ | os.O_DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        return os.open(name, _READ | os.O_NONBLOCK, dir_fd=descriptor)
    finally:
        os.close(descriptor)
