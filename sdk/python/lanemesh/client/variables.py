"""Finds the `${NAME}` variables of a pipeline, with their values in this environment."""

from __future__ import annotations

import os
import re

VARIABLE_NAME = "[A-Za-z_][A-Za-z0-9_]*"
"""Regular expression of the name of a variable."""

VARIABLE_PATTERN = re.compile(rf"\$(\$?)\{{({VARIABLE_NAME})\}}")
"""`$${NAME}` is an escape for the text `${NAME}`. Groups: the escaping dollar sign, the name."""


def variables_from_environment(text: str) -> dict[str, str]:
    """Returns the value of each variable in `text` that the environment sets. Omits a value that is not UTF-8."""
    names = {name for escaped, name in VARIABLE_PATTERN.findall(text) if not escaped}
    return {name: os.environ[name] for name in sorted(names) if name in os.environ and _is_utf8(os.environ[name])}


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeError:
        return False
    return True
