"""The table of scopes on the page of security is that of the code."""

from __future__ import annotations

import re
from pathlib import Path

from lanemesh._grpc.auth.refusals import Refusal
from lanemesh._grpc.auth.scopes import METHOD_SCOPES, Scope
from lanemesh._grpc.security import VARIABLES

PAGE = Path(__file__).parents[3] / "docs" / "security.md"
BEGIN, END = "<!-- scopes: begin -->\n", "<!-- scopes: end -->"


def table() -> str:
    """The table: for each service and each set of scopes, the methods."""
    rows: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for path, scopes in METHOD_SCOPES.items():
        _, service, method = path.split("/")
        needed = ("any",) if scopes == frozenset(Scope) else tuple(scope for scope in Scope if scope in scopes)
        rows.setdefault((service, needed), []).append(method)
    lines = [
        f"| `{service.removeprefix('lanemesh.v1.')}` | {', '.join(methods)} | {', '.join(needed)} |"
        for (service, needed), methods in rows.items()
    ]
    return "\n".join(["| service | methods | one of the scopes |", "|---|---|---|", *lines, ""])


def test_the_table_of_scopes_is_that_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    found = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    assert found == table(), f"put this between the marks in docs/security.md:\n{table()}"


def test_the_page_has_every_variable_and_every_reason() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert not [name for name in VARIABLES if name not in text]
    assert not [refusal for refusal in Refusal if f"`{refusal}`" not in text]
    scopes = re.findall(r"^\| `(\w+)` \| [a-z]", text.split("## Scopes")[1], re.MULTILINE)
    assert scopes[: len(Scope)] == [scope.value for scope in Scope]
