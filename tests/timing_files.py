"""A plugin of pytest: `--timing-files` collects only the files with tests that are marked `timing`.

To import the other files takes longer than many of the tests.
"""

from __future__ import annotations

from pathlib import Path

import pytest

MARK = "mark.timing"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--timing-files", action="store_true", help=f"collect only files with the text `{MARK}`")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """True for a file that is left out; other plugins decide about the rest."""
    if not config.getoption("--timing-files") or collection_path.suffix != ".py":
        return None
    return None if _has_mark(collection_path) else True


def pytest_itemcollected(item: pytest.Item) -> None:
    """Refuses a test that `--timing-files` leaves out. Raises UsageError."""
    if item.get_closest_marker("timing") and not _has_mark(item.path):
        raise pytest.UsageError(
            f"{item.nodeid} is marked by another file: write `pytest.{MARK}` in the file of the test"
        )


def _has_mark(file: Path) -> bool:
    return MARK in file.read_text(encoding="utf-8")
