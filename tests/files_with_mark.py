"""A plugin of pytest: `--only-files-with MARK` collects only the files with tests that have the mark `timing` or `apart`.

To import the other files takes longer than many of the tests.
"""

from __future__ import annotations

from pathlib import Path

import pytest

MARKS = ("timing", "apart")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--only-files-with", choices=MARKS, help="collect only files with the text `mark.MARK`")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """True for a file that is left out; other plugins decide about the rest."""
    mark = config.getoption("--only-files-with")
    if mark is None or collection_path.suffix != ".py":
        return None
    return None if _has_mark(collection_path, mark) else True


def pytest_itemcollected(item: pytest.Item) -> None:
    """Refuses a test that `--only-files-with` leaves out. Raises UsageError."""
    for mark in MARKS:
        if item.get_closest_marker(mark) and not _has_mark(item.path, mark):
            raise pytest.UsageError(
                f"{item.nodeid} is marked by another file: write `pytest.mark.{mark}` in the file of the test"
            )


def _has_mark(file: Path, mark: str) -> bool:
    return f"mark.{mark}" in file.read_text(encoding="utf-8")
