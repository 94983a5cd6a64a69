"""Traces of requests: what the arbiter makes of them, beside strict order and the fewest loads."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest
from lanemesh.faults import LanemeshError
from lanemesh.gpu.queue_pass import MAX_BYPASS
from lanemesh.gpu.simulation import Simulation, Trace, compare, fewest_loads, repeated

LARGE = {"memory": "16GiB", "peak": "20GiB", "seconds": 0.1, "reload": 1.0}
"""A model that has a device of 24 GiB for itself."""
MODELS: dict[str, dict[str, Any]] = dict.fromkeys("ABC", LARGE)


def test_requests_of_a_loaded_model_go_first_for_a_while() -> None:
    trace = repeated("ABAACABC" * 6, MODELS)
    replays, fewest = compare(trace), fewest_loads(trace)
    assert fewest is not None
    assert replays["arbiter"].loads <= 1.2 * fewest
    assert replays["FIFO"].loads > 3 * fewest
    assert all(len(replay.waits) == len(trace.requests) for replay in replays.values())


def test_waits_are_bounded_by_the_bypass() -> None:
    """A request waits at most while eight pass it, once for each request of the window before it, with a load each."""
    trace = repeated("ABAACABC" * 50, MODELS)
    longest_turn = (MAX_BYPASS + 1) * LARGE["seconds"] + LARGE["reload"] + 0.1  # type: ignore[operator]
    assert max(Simulation(trace).run().waits) <= 3 * longest_turn


def in_order(order: tuple[str, ...]) -> int:
    """How many loads an order takes with one model at a time."""
    return sum(1 for before, model in zip(("", *order), order, strict=False) if before != model)


@pytest.mark.parametrize("order", ["ABAB", "ABCAB", "AABBA", "ABCCBA"])
def test_the_fewest_loads_are_those_of_the_best_order(order: str) -> None:
    best = min(in_order(each) for each in permutations(order))
    assert fewest_loads(repeated(order, MODELS)) == best
    assert fewest_loads(repeated(order, MODELS), max_bypass=0) == in_order(tuple(order))


def test_models_that_fit_together_are_loaded_once() -> None:
    small: dict[str, dict[str, Any]] = {name: {"memory": "6GiB", "peak": "8GiB"} for name in "AB"}
    trace = repeated("ABABAB", small)
    assert fewest_loads(trace) == 2
    assert {name: replay.loads for name, replay in compare(trace).items()} == {"arbiter": 2, "FIFO": 2}


def test_a_trace_with_times_and_what_no_device_serves() -> None:
    text = {
        "devices": "sim:0=24GiB",
        "models": {"A": LARGE, "huge": {"memory": "80GiB"}},
        "requests": [{"model": "A", "at": 0}, {"model": "A", "at": 5}, {"model": "huge", "at": 6}],
    }
    replay = Simulation(Trace.parse(json.dumps(text))).run()
    assert replay.waits == [0, 0]
    assert (replay.loads, replay.refused) == (1, 1)
    assert replay.ended == pytest.approx(5.1)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"devices": "sim:0=24GiB", "order": []}', '{"devices": "x", "order": "AB"}']
)
def test_a_trace_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(LanemeshError, match=r"[Tt]race|LANEMESH_GPUS"):
        Trace.parse(text)
