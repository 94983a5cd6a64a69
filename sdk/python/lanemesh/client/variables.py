"""Variables of the client's environment that are sent with a pipeline."""

from __future__ import annotations

import os
import re

VARIABLE = re.compile(r"\$(\$?)\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""`${NAME}` in a string of a pipeline; a second dollar sign escapes it."""


def named_variables(text: str) -> dict[str, str]:
    """The variables that a pipeline's text names by `${NAME}` and that are set in this process's environment."""
    names = {name for escaped, name in VARIABLE.findall(text) if not escaped}
    return {name: os.environ[name] for name in sorted(names) if name in os.environ and _is_text(os.environ[name])}


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeError:
        return False
    return True
