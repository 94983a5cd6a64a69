"""What pipelines may do on a node server beyond its own node types: its operator grants it, because documents are not trusted."""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from lanemesh.faults import Code, Fault, LanemeshError

SHELL = "shell"
"""Tools may run shell commands."""
WRITE = "write"
"""Tools may write files under the file roots."""
HOSTS = "hosts"
"""Nodes may connect to any host, also to private addresses."""
COMMANDS = "commands"
"""Nodes may start any command, such as an MCP server."""
VARIABLE = "LANEMESH_ALLOW"
"""The environment variable that grants permissions, separated by commas, besides `lanemesh node --allow`."""

_NAMES = (SHELL, WRITE, HOSTS, COMMANDS)
_COMMAND = "command:"
_HOST = re.compile(r"host:(?P<host>\[[0-9a-fA-F:.%]+\]|[^:\[\]\s]+)(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Permissions:
    """The permissions of a node server."""

    granted: frozenset[str] = frozenset()
    """Their names, "host:NAME" or "host:NAME:PORT" for each host that nodes may connect to, and "command:LINE" for each command
    that they may start with any further arguments."""

    @classmethod
    def of(cls, names: Iterable[str]) -> Permissions:
        """The permissions with these names.

        Raises:
            LanemeshError: "bad-permission": there is no such permission.
        """
        granted = frozenset(filter(None, map(str.strip, names)))
        for name in granted:
            if name.startswith(_COMMAND):
                _check_command(name)
            elif name not in _NAMES and not _HOST.fullmatch(name):
                raise _unknown(name)
        return cls(granted)

    @classmethod
    def of_server(cls, names: Iterable[str] = ()) -> Permissions:
        """Those of a node server: these, and those of the environment. Raises LanemeshError as `of` does."""
        return cls.of([*names, *_of_environment()])

    @classmethod
    def local(cls) -> Permissions:
        """Those of local runs, whose documents are the user's own: all but the shell, and those of the environment."""
        return cls.of([WRITE, HOSTS, COMMANDS, *_of_environment()])

    @property
    def commands(self) -> list[str]:
        """The commands that may be started, written as in a shell; "*": all."""
        if COMMANDS in self.granted:
            return ["*"]
        return sorted(name.removeprefix(_COMMAND) for name in self.granted if name.startswith(_COMMAND))

    @property
    def hosts(self) -> list[str]:
        """The hosts that configs may name, as "name" or "name:port"; "*": all."""
        if HOSTS in self.granted:
            return ["*"]
        return sorted(name.removeprefix("host:") for name in self.granted if _HOST.fullmatch(name))

    def allows(self, name: str) -> bool:
        """Whether a permission is granted."""
        return name in self.granted

    def allows_host(self, host: str, port: int = 0) -> bool:
        """Whether tools may connect to a host even if its address is private."""
        return HOSTS in self.granted or any(_matches(name, host, port) for name in self.granted)

    def check(self, name: str, where: str, what: str) -> None:
        """Checks that a permission is granted.

        Args:
            name: the permission.
            where: the component that needs it, for the error.
            what: what it would do, such as "run shell commands".

        Raises:
            LanemeshError: "not-permitted".
        """
        if not self.allows(name):
            raise not_permitted(where, what, name)


def not_permitted(where: str, what: str, permission: str) -> LanemeshError:
    """The error of a component that lacks a permission."""
    message = (
        f"{where}: its node server does not permit it to {what}. Its operator can: lanemesh node --allow {permission}, or "
        f"{VARIABLE}={permission} in the environment, which is also read by local runs"
    )
    return LanemeshError(Fault(code=Code.PERMISSION_DENIED, reason="not-permitted", message=message))


def matches_host(pattern: str, host: str) -> bool:
    """Whether a host has the name of a pattern, such as "api.example.com", "*.example.com" or "*". Letter case is ignored."""
    return fnmatch.fnmatchcase(host.lower().rstrip("."), pattern.lower().rstrip("."))


def _matches(name: str, host: str, port: int) -> bool:
    match = _HOST.fullmatch(name)
    if match is None or not matches_host(escaped(match["host"].strip("[]")), host.strip("[]")):
        return False
    return match["port"] is None or int(match["port"]) == port


def escaped(pattern: str) -> str:
    """A pattern of a host with `*` as its only wildcard."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


def _check_command(name: str) -> None:
    try:
        words = shlex.split(name.removeprefix(_COMMAND))
    except ValueError as error:
        message = f"the permission {name!r:.200} names no command: {error}. Write it as in a shell"
        raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-permission", message=message)) from None
    if not words:
        message = "the permission command: names no command. Give one, such as --allow 'command:npx -y SERVER'"
        raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-permission", message=message))


def _of_environment() -> list[str]:
    return os.environ.get(VARIABLE, "").split(",")


def _unknown(name: str) -> LanemeshError:
    known = ", ".join([*_NAMES, "host:NAME", "host:NAME:PORT", "command:LINE"])
    message = f'there is no permission "{name:.80}"; use one of: {known}'
    return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-permission", message=message))
