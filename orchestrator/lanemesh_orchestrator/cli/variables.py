"""Environment variables for the options of the commands that run servers: `lanemesh node --max-instances` is also
LANEMESH_NODE_MAX_INSTANCES."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

SERVERS = (("serve",), ("node",), ("gateway",), ("gpu", "serve"))
"""The commands whose options have variables."""


def variable_of(command: tuple[str, ...], parameter: Any) -> str | None:
    """The variable of an option or argument, such as LANEMESH_SERVE_KEEP_DAYS; None for `--help` and options that are not shown.

    An option's variable is made of its name, an argument's of what the usage calls it.
    """
    if parameter.name == "help" or getattr(parameter, "hidden", False):
        return None
    shown = next((name for name in parameter.opts if name.startswith("--")), None)
    if shown is None:
        shown = (parameter.metavar or parameter.name).rstrip(".")
    return "_".join(["LANEMESH", *command, shown.lstrip("-")]).replace("-", "_").upper()


def server_options(root: Any) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """The options and arguments of the server commands of `lanemesh`: the command, the parameter, and its variable."""
    for path in SERVERS:
        command = root
        for name in path:
            command = command.commands[name]
        for parameter in command.params:
            variable = variable_of(path, parameter)
            if variable is not None:
                yield path, parameter, variable


def add_variables(root: Any) -> None:
    """Lets the server commands read their options from the environment. Another variable that an option has is read after it.

    An option of the command line precedes its variable. The variable of an option that can be repeated holds values separated by
    white space, and files and folders separated by colons.
    """
    for _, parameter, variable in server_options(root):
        known = parameter.envvar
        others = [known] if isinstance(known, str) else list(known or ())
        parameter.envvar = [variable, *others] if others else variable
