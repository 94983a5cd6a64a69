"""Secrets of a server that a command starts: its token, from a file or an environment variable, and those of webhooks."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from lanemesh_orchestrator.cli.exits import CommandError


def read_token(file: Path | None, variable: str) -> str:
    """The token in a file, or without a file the value of the variable; empty if there is neither. Raises `CommandError` if the
    file cannot be read or is empty."""
    if file is None:
        return os.environ.get(variable, "")
    try:
        token = file.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeError) as error:
        raise CommandError(f"--token-file {file} cannot be read: {error}.") from None
    if not token:
        raise CommandError(f"--token-file {file} is empty. Write a token to it.")
    return token


def read_webhook_secrets(file: Path | None) -> dict[str, str]:
    """The secrets of webhooks by the names of their deployments.

    Args:
        file: has a line DEPLOYMENT=SECRET for each; empty lines and lines that begin with # are ignored. None: there are none.

    Raises:
        CommandError: it cannot be read, or a line is not of this form, which the error names by its number.
    """
    if file is None:
        return {}
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise CommandError(f"--webhook-secrets {file} cannot be read: {error}.") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, secret = (part.strip() for part in line.partition("="))
        if not name or not secret:
            raise CommandError(f"--webhook-secrets {file}, line {number}: write DEPLOYMENT=SECRET.")
        if name in found:
            raise CommandError(
                f'--webhook-secrets {file}, line {number}: "{name[:63]}" has a secret already. Remove one.'
            )
        if not is_secret(secret):
            raise CommandError(f"--webhook-secrets {file}, line {number}: after whsec_ follows base64.")
        found[name] = secret
    return found


def is_secret(secret: str) -> bool:
    """Whether a text can be the secret of a webhook: any text, or base64 after "whsec_"."""
    if not secret.startswith("whsec_"):
        return True
    try:
        return bool(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
    except ValueError:
        return False
