"""Faults: their contents from exceptions."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from lanemesh.faults import Code, Fault, LaneFault, LanemeshError
from lanemesh.v1 import fault_pb2

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


@pytest.mark.parametrize("secondary", [False, True])
def test_a_fault_travels_in_frames_and_in_failed_calls(secondary: bool) -> None:
    fault = Fault(
        code=Code.UNAVAILABLE,
        reason="lane-broken",
        message="it broke",
        details={"lane": "a.x>b.y", "secondary": "a detail like any other"},
        traceback="Traceback ...",
        secondary=secondary,
    )
    assert Fault.from_proto(fault.to_proto()) == fault
    assert Fault.from_status(fault.to_status()) == fault


@pytest.mark.parametrize("seconds", [0.0, 0.25, 90.0])
def test_a_suggested_retry_travels_in_failed_calls(seconds: float) -> None:
    fault = Fault(code=Code.RESOURCE_EXHAUSTED, reason="no-capacity", message="full", retry_after=seconds)
    found = Fault.from_status(fault.bounded().to_status())
    assert (found, LanemeshError(found).retry_after) == (fault, seconds)
    assert Fault.from_status(OWN.fault.to_status()).retry_after is None


def test_a_retry_is_suggested_by_the_usual_message() -> None:
    status = Fault(code=Code.RESOURCE_EXHAUSTED, reason="no-capacity", message="full", retry_after=1.5).to_status()
    (retry,) = [one for one in status.details if one.Is(error_details_pb2.RetryInfo.DESCRIPTOR)]
    assert error_details_pb2.RetryInfo.FromString(retry.value).retry_delay.ToMilliseconds() == 1_500
    retry.value = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=-3)).SerializeToString()
    assert Fault.from_status(status).retry_after == 0.0


def test_a_fault_without_content_is_unknown() -> None:
    for fault in (Fault.from_proto(fault_pb2.Fault()), Fault.from_proto(fault_pb2.Fault(code=99))):
        assert (fault.code, fault.reason, fault.message) == (Code.UNKNOWN, "unknown", "no reason was given")


def test_text_that_is_no_unicode_travels_escaped() -> None:
    fault = Fault(code=Code.UNKNOWN, reason="odd", message="\ud800", details={"key": "\ud800"})
    assert (fault.to_proto().message, fault.to_proto().details["key"]) == ("\\ud800", "\\ud800")
    assert Fault.from_status(fault.to_status()).details == {"key": "\\ud800"}
