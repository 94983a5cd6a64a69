"""Which tests need the libraries of the catalogue, an environment of their own, or torch in further processes: those of
`make test-models`.

Modules that import libraries of the catalogue are in folders which `make test` does not even collect.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
FAMILIES = ("documents", "flow", "pictures", "search", "speech", "video")
"""The services of the catalogue."""
FOLDERS = (*(TESTS / "unit" / family for family in FAMILIES), TESTS / "conformance" / "catalogue")
"""Folders of which every test is heavy."""
PARTLY = (
    TESTS / "guests",
    TESTS / "conformance" / "llm" / "test_kinds_of_models.py",
    TESTS / "conformance" / "llm" / "test_transformers.py",
    TESTS / "conformance" / "runs" / "test_client_access.py",
    TESTS / "e2e" / "test_examples.py",
    TESTS / "e2e" / "test_readme.py",
    TESTS / "e2e" / "test_transformers.py",
    TESTS / "unit" / "file" / "test_writers.py",
)
"""Where further tests are heavy: they carry the mark."""


def is_heavy(path: Path, name: str) -> bool:
    """Whether a test of this file and name is heavy without carrying the mark."""
    return _in_folder(path) or ("crewai" in name and "guests" in path.parts)


@cache
def _in_folder(path: Path) -> bool:
    return any(folder in path.parents for folder in FOLDERS)


if __name__ == "__main__":
    print(*(path.relative_to(TESTS.parent) for path in (*FOLDERS, *PARTLY)))
