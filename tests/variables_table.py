"""Writes the table of the variables of server options in docs/cli.md.

`python tests/variables_table.py` writes it anew; `make variables` calls it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lanemesh_orchestrator.cli.app import command
from lanemesh_orchestrator.cli.variables import server_options

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
BEGIN, END = "<!-- variables -->", "<!-- /variables -->"
"""The marks around the table."""


def table() -> str:
    """The table: each option of a server command with its variables."""
    return "\n".join(["| option | variables |", "|---|---|", *_rows()])


def _rows() -> Iterator[str]:
    for path, parameter, _ in server_options(command()):
        option = next((name for name in parameter.opts if name.startswith("--")), parameter.metavar or parameter.name)
        known = parameter.envvar
        variables = ", ".join(f"`{name}`" for name in ([known] if isinstance(known, str) else known))
        yield f"| `{' '.join(path)} {option.rstrip('.')}` | {variables} |"


def page() -> str:
    """The page with the table as it should be."""
    above, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{above}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
