"""The declaration of a service that its libraries do not fit into one environment with those of other services."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A Python environment of a service's own. `lanemesh env create SERVICE` makes it."""

    requirements: tuple[str, ...]
    """What pip installs besides Lanemesh, such as "crewai>=1.15,<2"."""
    constraints: tuple[str, ...] = ()
    """Versions to which pip is bound, such as "pydantic==2.12.5"."""

    def is_here(self) -> bool:
        """Whether the running environment has a package for each requirement, so that no other one is needed."""
        return all(map(_is_installed, self.requirements))


def _is_installed(requirement: str) -> bool:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    try:
        return name is not None and bool(version(name.group()))
    except PackageNotFoundError:
        return False
