"""Patterns of tools, such as "tool_http.*": globs over the names of tools and of their helpers. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TypeVar

V = TypeVar("V")
_WILDCARD = re.compile(r"[*?[]")


def names_of(tool: str, helper: str) -> tuple[str, ...]:
    """The names that patterns of a tool are compared with: the tool, its helper's component, and both as "component.tool". A tool
    that has its component in front, because another helper has one of the same name, is compared without it as well."""
    if not helper:
        return (tool,)
    names = dict.fromkeys((tool, tool.removeprefix(f"{helper}_")))
    return (*names, helper, *(f"{helper}.{name}" for name in names))


def is_reference(pattern: str, components: Collection[str]) -> bool:
    """Whether a pattern refers to a certain tool or component: it has no wildcard, or begins with a component that is none of
    these. Others, such as "delete_*", are rules for whatever there is."""
    component, dot, _ = pattern.partition(".")
    if dot and not _WILDCARD.search(component) and component not in components:
        return True
    return not _WILDCARD.search(pattern)


def matches(names: Iterable[str], patterns: Iterable[str]) -> bool:
    """Whether one of the names matches one of the patterns."""
    named = tuple(names)
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in named)


def first_match(names: Iterable[str], by_pattern: Mapping[str, V], otherwise: V) -> V:
    """The value of the first pattern that matches one of the names."""
    named = tuple(names)
    return next((value for pattern, value in by_pattern.items() if matches(named, (pattern,))), otherwise)
