"""Faults: what an exception tells."""

from __future__ import annotations

import pytest
from lanemesh.faults import Code, Fault, LaneFault, LanemeshError

BROKEN = LaneFault(Fault(code=Code.UNAVAILABLE, reason="lane-broken", message="it broke", secondary=True))
OWN = LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad", message="bad"))


def raised(error: BaseException, over: BaseException, *, explicitly: bool) -> BaseException:
    """The error as it is raised while another one is handled."""
    try:
        try:
            raise over
        except type(over):
            if explicitly:
                raise error from over
            raise error  # noqa: B904 - that is what is tested
    except type(error) as caught:
        return caught


@pytest.mark.conformance("RUN-05")
@pytest.mark.parametrize("explicitly", [True, False])
def test_an_error_over_a_consequence_is_a_consequence(explicitly: bool) -> None:
    assert Fault.from_exception(raised(RuntimeError("no good"), BROKEN, explicitly=explicitly)).secondary
    again = raised(
        ValueError("x"), raised(RuntimeError("no good"), BROKEN, explicitly=explicitly), explicitly=explicitly
    )
    assert Fault.from_exception(again).secondary
    bad = LanemeshError(OWN.fault)
    assert Fault.from_exception(raised(bad, BROKEN, explicitly=explicitly)).secondary


@pytest.mark.conformance("RUN-05")
def test_an_error_of_its_own_is_none() -> None:
    assert not Fault.from_exception(RuntimeError("no good")).secondary
    assert not Fault.from_exception(raised(RuntimeError("no good"), OWN, explicitly=True)).secondary
    assert not Fault.from_exception(raised(RuntimeError("no good"), KeyError("k"), explicitly=False)).secondary
    apart = RuntimeError("no good")
    apart.__context__, apart.__suppress_context__ = BROKEN, True  # `raise ... from None`
    assert not Fault.from_exception(apart).secondary
