"""The token of a server that a command starts: from a file, or from an environment variable."""

from __future__ import annotations

import os
from pathlib import Path

from lanemesh_orchestrator.cli.exits import CommandError


def read_token(file: Path | None, variable: str) -> str:
    """The token in a file, or without a file the value of the variable; empty if there is neither. Raises `CommandError` if the
    file cannot be read or is empty."""
    if file is None:
        return os.environ.get(variable, "")
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise CommandError(f"--token-file {file} cannot be read: {error}.") from None
    if not token:
        raise CommandError(f"--token-file {file} is empty. Write a token to it.")
    return token
