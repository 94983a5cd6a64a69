"""What every test has at hand."""

from __future__ import annotations

import os
import signal

import garbage

os.environ["LANEMESH_STORE"] = "none"  # a `lanemesh serve` that a test starts has no part in the store of who runs it

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as in what a script starts with `&`; some tests interrupt themselves
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["conformance_table", "failure_tail"]


def pytest_collection_finish() -> None:
    """Later collections leave out what is there before the first test."""
    garbage.collect()
