"""What every test has at hand."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

import garbage
import heavy
from repeats import times

if TYPE_CHECKING:
    from rigs.beside import Beside

os.environ["LANEMESH_STORE"] = "none"  # a `lanemesh serve` that a test starts has no part in the store of who runs it

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as in what a script starts with `&`; some tests interrupt themselves
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("tests", max_examples=times(100, 25), deadline=None)
settings.load_profile("tests")

pytest_plugins = ["conformance_table", "failure_tail", "workers"]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Marks the heavy tests, and as `many` those of random examples, of which `make many` tries more."""
    if heavy.is_heavy(item.path, item.name):
        item.add_marker(pytest.mark.heavy)
    if hasattr(getattr(item, "obj", None), "hypothesis"):
        item.add_marker(pytest.mark.many)


def pytest_collection_finish() -> None:
    """Later collections of garbage leave out what is there before the first test."""
    garbage.collect()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collects no garbage while tests are collected: what that makes stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.fixture(scope="session")
def minute() -> Iterator[Beside]:
    """A process in which a minute passes, for an idle lane behind a proxy."""
    yield from _beside("rigs.lane_minute")


@pytest.fixture(scope="session")
def frozen() -> Iterator[Beside]:
    """A process in which lanes wait for peers that are frozen or cut off."""
    yield from _beside("rigs.lane_breaks")


def _beside(module: str) -> Iterator[Beside]:
    from rigs.beside import Beside  # imports a node server, which most calls of pytest on a few files do not need

    process = Beside(module)
    yield process
    process.close()


def beside(item: pytest.Item) -> list[str]:
    """The fixtures of a test that are processes beside the tests."""
    return [name for name in ("minute", "frozen") if name in getattr(item, "fixturenames", ())]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that read the result of such a process come last, so that others run while it waits.

    Tests of models come one after the other, so that they reach few workers: each that runs one imports torch.
    """
    models = next((place for place, item in enumerate(items) if _runs_models(item)), 0)
    order = {id(item): models if _runs_models(item) else place for place, item in enumerate(items)}
    items.sort(key=lambda item: (bool(beside(item)), order[id(item)]))


def _runs_models(item: pytest.Item) -> bool:
    return item.path.parent.name == "llm"


@pytest.fixture(scope="session", autouse=True)
def begin_beside(request: pytest.FixtureRequest) -> None:
    """Starts the processes with the first test, whichever it is, if a test reads their results."""
    for name in {name for item in request.session.items for name in beside(item)}:
        request.getfixturevalue(name)
