"""Whether a deployed pipeline is ready, and what is in the way."""

from __future__ import annotations

from lanemesh.faults import Code, Fault
from lanemesh.v1 import deployment_pb2
from lanemesh_orchestrator.deployments.readiness import (
    LOST_ATTEMPTS,
    ServerStanding,
    in_the_way,
    not_ready,
    readiness,
)

WARM, COLD = ServerStanding("s1", warm=True), ServerStanding("s2", warm=False)
READY, WARMING, DEGRADED = (
    deployment_pb2.DEPLOYMENT_STATE_READY,
    deployment_pb2.DEPLOYMENT_STATE_WARMING,
    deployment_pb2.DEPLOYMENT_STATE_DEGRADED,
)


def fault(message: str = "no such model", reason: str = "node-error", **details: str) -> Fault:
    return Fault(code=Code.UNKNOWN, reason=reason, message=message, details=details)


def failing(*faults: Fault, failures: int = 1) -> ServerStanding:
    return ServerStanding("s3", warm=False, faults=faults, failures=failures)


def test_ready_once_every_server_is_warm() -> None:
    assert readiness(None, [WARM], {"a": ["s1"]}).state == READY
    assert readiness(None, [], {}).state == WARMING
    cold = readiness(None, [WARM, COLD], {"a": ["s1", "s2"]})
    assert (cold.state, cold.detail) == (WARMING, "s2 loads")


def test_degraded_with_what_is_in_the_way() -> None:
    found = readiness(None, [WARM, failing(fault(component="a", provider="llm", server="s3"))], {"a": ["s1", "s3"]})
    assert (found.state, found.detail) == (DEGRADED, "a (llm, on s3): no such model")
    assert readiness(fault("no node type"), [WARM], {"a": ["s1"]}).detail == "no node type"
    homeless = readiness(None, [WARM], {"a": ["s1"], "b": [], "c": []})
    assert homeless.state == DEGRADED
    assert homeless.detail.startswith("no node server that accepts runs has the node type of b, c. Start one with")


def test_a_long_list_of_faults_is_cut_and_each_is_reported_once() -> None:
    faults = [fault(f"fault {number}") for number in (1, 1, 2, 3, 4, 5)]
    assert readiness(None, [failing(*faults)], {"a": ["s3"]}).detail == "fault 1; fault 2; fault 3; and 2 more"
    assert len(readiness(fault("x" * 100_000), [], {}).detail) < 2_100


def test_a_lost_server_is_in_the_way_only_if_it_stays_lost() -> None:
    lost, components = fault("gone", "server-lost"), {"a": ["s3"]}
    assert in_the_way([failing(lost)], components) == []
    assert in_the_way([failing(lost, failures=LOST_ATTEMPTS)], components) == [lost]
    assert in_the_way([failing(fault())], components) == [fault()]
    assert [found.reason for found in in_the_way([WARM], {"a": []})] == ["no-server"]


def test_a_rejected_deployment_reports_all_faults() -> None:
    faults = [fault(component="a", provider="llm", server="s3", exception="OSError"), fault("too little memory")]
    error = not_ready("chat", faults).fault
    assert error.message == (
        '"chat" was not deployed, because it cannot be made ready: a (llm, on s3): no such model; too little memory'
    )
    assert (error.reason, error.details["component"]) == ("not-ready", "a")
