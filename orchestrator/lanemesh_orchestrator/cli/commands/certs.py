"""`lanemesh certs` and `lanemesh token`: what a mesh with locked doors needs."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from lanemesh._grpc.auth.auth_file import read_auth_file
from lanemesh._grpc.auth.scopes import Scope

from lanemesh_orchestrator.certificates import Subject, make_certificates
from lanemesh_orchestrator.cli.exits import CommandError, ExitCode

DEFAULT_NAMES = ("orchestrator", "node", "client")
"""The certificates that are made if none are named."""


def certs(folder: Path, names: Sequence[str], days: float) -> ExitCode:
    """Writes an authority for development and certificates, and prints what to set."""
    subjects = [Subject.parse(name) for name in names or DEFAULT_NAMES]
    made = make_certificates(folder, subjects, days=days)
    for files in made:
        print(f"{'wrote' if files.is_new else 'kept '} {files.cert} and {files.key}")
    ca, first = made[0], made[1] if len(made) > 1 else made[0]
    print(
        "\nSet for each process, with the files of its own certificate:\n"
        f"  export LANEMESH_TLS_CA={ca.cert} LANEMESH_TLS_CERT={first.cert} LANEMESH_TLS_KEY={first.key} LANEMESH_MTLS=1\n"
        f"Keep {ca.key} to yourself: who has it can pass as every server and client."
    )
    return ExitCode.COMPLETED


def token(file: Path, name: str, scopes: Sequence[Scope], output: Path | None) -> ExitCode:
    """Adds a new token to a file of accepted tokens, which holds only its hash, and prints it or writes it to a file."""
    if not scopes:
        raise CommandError(f"Give the token at least one --scope: {', '.join(Scope)}.")
    if not name or not name.isprintable() or len(name) > 128:
        raise CommandError("A token needs a NAME of 1 to 128 printable characters.")
    if file.exists() and name in {entry.name for entry in read_auth_file(file).tokens}:
        raise CommandError(f'{file} has a token "{name}" already. Choose another NAME, or remove its entry.')
    new = secrets.token_urlsafe(32)
    entry = (
        "[[tokens]]\n"
        f"name = {json.dumps(name)}\n"
        f"scopes = {json.dumps([scope.value for scope in dict.fromkeys(scopes)])}\n"
        f'sha256 = "{hashlib.sha256(new.encode()).hexdigest()}"\n'
    )
    try:
        if output is not None:
            with open(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as written:
                written.write(f"{new}\n")
        is_first = not file.exists()
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as appended:
            appended.write(entry if is_first else f"\n{entry}")
    except FileExistsError:
        raise CommandError(f"{output} exists. Choose another --output, or remove it.") from None
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be written: {error.strerror or error}.") from None
    if output is None:
        print(new)
    where = f"LANEMESH_TOKEN_FILE={output}" if output is not None else "LANEMESH_TOKEN to the token"
    print(f"Servers accept it with LANEMESH_AUTH={file}; who calls them sets {where}.", file=sys.stderr)
    return ExitCode.COMPLETED
