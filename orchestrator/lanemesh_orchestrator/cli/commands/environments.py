"""`env create`, `env list`, `env remove`: the Python environments of services."""

from __future__ import annotations

import sys
from typing import Any

from lanemesh.server import environments

from lanemesh_orchestrator.cli.exits import CommandError, ExitCode


def create(service: str) -> ExitCode:
    """Makes the environment of a service."""
    environments.create(service, lambda line: print(line, file=sys.stderr, flush=True))
    return ExitCode.COMPLETED


def show(*, as_json: bool) -> ExitCode:
    """Prints the services that have an environment of their own, and whether it has been made."""
    found: list[dict[str, Any]] = [
        {
            "service": name,
            "requirements": list(environment.requirements),
            "folder": str(folder := environments.folder_of(name, environment)),
            "made": (folder / environments.COMPLETE).is_file(),
        }
        for name, environment in environments.environments().items()
    ]
    if as_json:
        import json

        print(json.dumps(found, indent=2))
        return ExitCode.COMPLETED
    for one in found:
        where = one["folder"] if one["made"] else f"not made; make it with: lanemesh env create {one['service']}"
        print(f"{one['service']}  {', '.join(one['requirements'])}\n    {where}")
    return ExitCode.COMPLETED


def remove(service: str) -> ExitCode:
    """Removes the environments of a service."""
    if not environments.remove(service):
        raise CommandError(f"{service} has no environment that could be removed.")
    return ExitCode.COMPLETED
