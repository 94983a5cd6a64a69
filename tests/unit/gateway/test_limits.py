"""The limits of callers, by a clock of the test."""

from __future__ import annotations

import pytest
from lanemesh_orchestrator.gateway.guard import limits
from lanemesh_orchestrator.gateway.guard.limits import Limits, caller_of
from lanemesh_orchestrator.gateway.options import GatewayOptions


class Clock:
    """A clock that stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_and_then_the_rate() -> None:
    clock = Clock()
    usage = Limits(GatewayOptions(rate=10.0), clock)

    passed = [usage.enter("a") for _ in range(60)]
    assert passed.count(None) == 50
    assert passed[-1] == pytest.approx(0.1)
    assert usage.enter("b") is None

    clock.now = 1.0
    assert [usage.enter("a") for _ in range(12)].count(None) == 10


def test_active_requests_are_limited_per_caller() -> None:
    usage = Limits(GatewayOptions(max_requests_per_token=2), Clock())
    assert [usage.enter("a") for _ in range(3)] == [None, None, 1.0]
    assert usage.enter("b") is None
    usage.leave("a")
    assert usage.enter("a") is None
    assert usage.active == 3


def test_the_table_of_callers_is_bounded_and_forgets_none_that_is_active(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CALLERS", 10)
    usage = Limits(GatewayOptions(), Clock())
    for name in ("kept-1", "kept-2"):
        usage.enter(name)
    for number in range(1_000):
        usage.enter(str(number))
        usage.leave(str(number))
    assert usage.callers == 10
    usage.leave("kept-1")
    usage.leave("kept-2")
    assert usage.active == 0


@pytest.mark.parametrize(
    ("client", "name"),
    [
        (("127.0.0.1", 1), "127.0.0.1"),
        (("2001:db8::1", 1), "20010db800000000::/64".lstrip("0")),
        (("2001:db8::2", 1), "20010db800000000::/64".lstrip("0")),
        (("::ffff:10.0.0.1", 1), "10.0.0.1"),
        (("unix", 0), "unix"),
        (None, "unknown"),
    ],
)
def test_callers_are_named_by_address(client: object, name: str) -> None:
    assert caller_of({"type": "http", "headers": [], "client": client}, b"") == name


def test_callers_with_the_token_are_one_caller() -> None:
    scope = {"type": "http", "headers": [(b"authorization", b"Bearer t")], "client": ("127.0.0.1", 1)}
    assert caller_of(scope, b"t") == "token"
    assert caller_of(scope, b"u") == "127.0.0.1"
