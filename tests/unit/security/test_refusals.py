"""Refused calls are logged once a second for each reason, with their number."""

from __future__ import annotations

import logging

import pytest
from lanemesh._grpc.auth.refusals import Refusal, RefusalLog


def test_lines_are_bounded_and_count_what_they_leave_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    now = [100.0]
    log = RefusalLog(lambda: now[0])
    for _ in range(50):
        log.add(Refusal.MISSING, "/a.B/C", "ipv4:127.0.0.1:1")
    log.add(Refusal.EXPIRED, "/a.B/C", "ipv4:127.0.0.1:1")
    now[0] += 1.0
    log.add(Refusal.MISSING, "/a.B/C", "")
    assert [record.getMessage() for record in caplog.records] == [
        "refused '/a.B/C' from ipv4:127.0.0.1:1: token-missing",
        "refused '/a.B/C' from ipv4:127.0.0.1:1: token-expired",
        "refused '/a.B/C' from an unknown peer: token-missing, and 49 before it",
    ]


def test_a_method_cannot_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    RefusalLog().add(Refusal.INVALID, "/a\nlanemesh: all is well" + "x" * 10_000, "peer")
    assert "\n" not in caplog.records[0].getMessage()
    assert len(caplog.records[0].getMessage()) < 300
