"""Commands that other packages implement: `models list`, `models get`, `gpu serve`.

The orchestrator imports no services. Their functions for the command line are found by the entry-point group `lanemesh.commands`:
`models-get` is `get(name, *, report) -> Path`, `models-list` is `known() -> list[dict[str, str]]` with `name`, `summary`,
`requirement` and `path` (empty unless installed), `gpu-serve` is the coroutine function `serve(host, port, *, insecure, on_ready,
journal, metrics)`.
"""

from __future__ import annotations

import sys
from typing import Any

from lanemesh_orchestrator.cli.exits import CommandError, ExitCode

GROUP = "lanemesh.commands"
"""The entry-point group."""


def part(name: str) -> Any:
    """The function of an installed package with a name. Raises `CommandError` if there is none."""
    from importlib.metadata import entry_points

    found = list(entry_points(group=GROUP, name=name))
    if not found:
        raise CommandError(
            f"No installed package has the plugin {name} ({GROUP}). Install Lanemesh again: pip install lanemesh",
            ExitCode.FAILED,
        )
    return found[0].load()


def models_get(name: str) -> ExitCode:
    """Installs a model's package."""
    part("models-get")(name, report=lambda line: print(line, file=sys.stderr, flush=True))
    return ExitCode.COMPLETED


def models_list(*, as_json: bool) -> ExitCode:
    """Prints the models that have a name: whether each is installed, and where, or how to install it."""
    models = part("models-list")()
    if as_json:
        import json

        print(json.dumps(models, indent=2, ensure_ascii=False))
        return ExitCode.COMPLETED
    for model in models:
        where = model["path"] or f"not installed; install it with: lanemesh models get {model['name']}"
        print(f"{model['name']}  {model['summary']}\n    {where}")
    return ExitCode.COMPLETED
