"""`traceparent` as W3C Trace Context defines it."""

from __future__ import annotations

import pytest
from lanemesh._grpc.traceparent import fresh_traceparent, is_traceparent, traceparent_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
GOOD = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.mark.parametrize("text", [GOOD, GOOD.replace("00-", "cc-", 1), f"cc{GOOD[2:]}-what-comes-later"])
def test_valid(text: str) -> None:
    assert is_traceparent(text)
    assert traceparent_of([("other", b""), ("traceparent", text)]) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        GOOD.upper(),
        f"{GOOD}-more",
        f"{GOOD} ",
        f"{GOOD}\n",
        GOOD[:-1],
        f"ff{GOOD[2:]}",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"cc{GOOD[2:]}-{'x' * 500}",
        f"cc{GOOD[2:]}.",
    ],
)
def test_invalid_ones_begin_a_new_trace(text: str) -> None:
    assert not is_traceparent(text)
    begun = traceparent_of([("traceparent", text)])
    assert begun != text
    assert is_traceparent(begun)


def test_none_or_several_begin_a_new_trace() -> None:
    assert is_traceparent(fresh_traceparent())
    assert TRACE not in traceparent_of([("traceparent", GOOD), ("traceparent", GOOD)])
    assert traceparent_of(None) != traceparent_of([])
