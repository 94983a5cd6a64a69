"""What pipelines may do on a node server beyond its own node types: its operator grants it, because documents are not trusted."""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lanemesh.faults import Code, Fault, LanemeshError

SHELL = "shell"
"""Tools may run shell commands."""
WRITE = "write"
"""Tools may write files under the file roots."""
HOSTS = "hosts"
"""Tools may connect to any host, also to private addresses."""
COMMANDS = "commands"
"""Configs may name any command that a node starts, such as an MCP server, with any environment."""
VARIABLE = "LANEMESH_ALLOW"
"""The environment variable that grants permissions, separated by commas, besides `lanemesh node --allow`."""

_NAMES = (SHELL, WRITE, HOSTS, COMMANDS)
_COMMAND = "command:"
_SETS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_HOST = re.compile(r"host:(?P<host>\[[0-9a-fA-F:.%]+\]|[^:\[\]\s]+)(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Permissions:
    """The permissions of a node server."""

    granted: frozenset[str] = frozenset()
    """Their names, "host:NAME" or "host:NAME:PORT" for each host that tools may connect to besides public ones, and
    "command:COMMAND" for each command that a config may name, with any further arguments. A command is written as in a shell; each
    `NAME=` before it is an environment variable that a config may set for commands."""

    @classmethod
    def of(cls, names: Iterable[str]) -> Permissions:
        """The permissions with these names.

        Raises:
            LanemeshError: "bad-permission": there is no such permission.
        """
        granted = frozenset(filter(None, map(str.strip, names)))
        for name in granted:
            if name not in _NAMES and not _HOST.fullmatch(name) and not _is_command(name):
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

    def allows(self, name: str) -> bool:
        """Whether a permission is granted."""
        return name in self.granted

    def allows_host(self, host: str, port: int = 0) -> bool:
        """Whether tools may connect to a host even if its address is private."""
        return HOSTS in self.granted or any(_matches(name, host, port) for name in self.granted)

    def allows_command(self, command: Sequence[str]) -> bool:
        """Whether a config may name a command with these arguments: whether it begins with the words of one that is granted."""
        words = tuple(command)
        return COMMANDS in self.granted or any(
            allowed and words[: len(allowed)] == allowed for _, allowed in self._commands()
        )

    def allows_variable(self, name: str) -> bool:
        """Whether a config may set an environment variable for commands."""
        return COMMANDS in self.granted or any(name in variables for variables, _ in self._commands())

    def _commands(self) -> Iterator[tuple[frozenset[str], tuple[str, ...]]]:
        """The variables and the words of each granted command."""
        for name in self.granted:
            if name.startswith(_COMMAND):
                words = shlex.split(name.removeprefix(_COMMAND))
                count = next((n for n, word in enumerate(words) if not _SETS.fullmatch(word)), len(words))
                yield frozenset(word[:-1] for word in words[:count]), tuple(words[count:])

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
    if match is None or not matches_host(_escaped(match["host"].strip("[]")), host.strip("[]")):
        return False
    return match["port"] is None or int(match["port"]) == port


def _escaped(pattern: str) -> str:
    """The pattern with `*` as its only wildcard."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


def _is_command(name: str) -> bool:
    if not name.startswith(_COMMAND):
        return False
    try:
        return bool(shlex.split(name.removeprefix(_COMMAND)))
    except ValueError:
        return False


def _of_environment() -> list[str]:
    return os.environ.get(VARIABLE, "").split(",")


def _unknown(name: str) -> LanemeshError:
    known = ", ".join([*_NAMES, "host:NAME", "host:NAME:PORT", "command:COMMAND"])
    message = f'there is no permission "{name:.80}"; use one of: {known}'
    return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-permission", message=message))
