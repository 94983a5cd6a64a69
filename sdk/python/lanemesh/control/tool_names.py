"""The names of tools for their invoker: those of the helpers where they differ, otherwise with the helper in front. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from lanemesh.control.connection import Connection
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.values import ToolSpec

MAX_NAME = 64
"""Longest name of a tool that models accept, in characters."""


class Connected(Protocol):
    """A helper."""

    @property
    def connection(self) -> Connection:
        """The connection to it."""


H = TypeVar("H", bound=Connected)


@dataclass(frozen=True, slots=True)
class OwnedTool(Generic[H]):
    """A tool of a helper."""

    helper: H
    """The helper."""
    name: str
    """The tool's name at the helper."""
    spec: ToolSpec
    """Its description, with its name for the invoker."""


def owned_tools(found: Sequence[tuple[H, Sequence[ToolSpec]]]) -> list[OwnedTool[H]]:
    """The tools of helpers, each with a name of its own, in order. A name that several helpers have is preceded by the component of
    the helper, as in "files_search", and followed by a number if that name is taken as well.

    Raises:
        LanemeshError: a helper has two tools of one name ("duplicate-tool").
    """
    for helper, specs in found:
        _check_distinct(helper.connection, specs)
    counts = Counter(spec.name for _, specs in found for spec in specs)
    taken = set(counts)
    tools: list[OwnedTool[H]] = []
    for position, (helper, specs) in enumerate(found, 1):
        for spec in specs:
            name = spec.name
            if counts[name] > 1:
                name = _unused(helper.connection.helper or f"helper_{position}", spec.name, taken)
                taken.add(name)
            tools.append(OwnedTool(helper, spec.name, spec if name == spec.name else replace(spec, name=name)))
    return tools


def _unused(helper: str, name: str, taken: set[str]) -> str:
    prefix = re.sub(r"[^A-Za-z0-9_-]", "_", helper)
    number = 1
    while True:
        suffix = f"_{name}" if number == 1 else f"_{name}_{number}"
        full = prefix[: max(1, MAX_NAME - len(suffix))] + suffix
        if full not in taken:
            return full
        number += 1


def _check_distinct(connection: Connection, specs: Sequence[ToolSpec]) -> None:
    twice = [name for name, count in Counter(spec.name for spec in specs).items() if count > 1]
    if not twice:
        return
    name = twice[0]
    raise LanemeshError(
        Fault(
            code=Code.FAILED_PRECONDITION,
            reason="duplicate-tool",
            message=f'{connection} has a tool "{name}" twice, so {connection.invoker or "a client"} cannot distinguish them. '
            "Rename one of them, or remove it from its component's config",
            details={"component": connection.invoker, "tool": name, "helpers": connection.helper},
        )
    )
