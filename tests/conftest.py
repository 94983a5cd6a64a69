"""What every test has at hand."""

from __future__ import annotations

import gc

pytest_plugins = ["conformance_table", "last_words"]


def pytest_collection_finish() -> None:
    """What is there before the first test stays: collecting garbage, which some tests do often, need not go through all of it."""
    gc.collect()
    gc.freeze()
