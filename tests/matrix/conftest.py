"""`make matrix` builds the programs of these tests, runs them, and prints what held as a table."""

from __future__ import annotations

import os

import pytest

from matrix.table import print_tables


def pytest_itemcollected(item: pytest.Item) -> None:
    """Skips them elsewhere."""
    if not os.environ.get("LANEMESH_LANGUAGES"):
        item.add_marker(pytest.mark.skip(reason="`make matrix` runs it"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the tables."""
    print_tables(terminalreporter)
