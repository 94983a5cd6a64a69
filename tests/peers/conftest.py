"""`make peers` gets the programs of these tests and runs them."""

from __future__ import annotations

import os

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Skips them elsewhere."""
    if not os.environ.get("LANEMESH_PEERS"):
        item.add_marker(pytest.mark.skip(reason="`make peers` runs it"))
