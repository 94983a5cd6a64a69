"""Derives the firing rules of an actor from the orchestrator's description of an instance."""

from __future__ import annotations

from collections.abc import Iterable

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.node.firing.loop import FiringRules
from lanemesh.node.firing.on_error import OnError, OnErrorPolicy
from lanemesh.node.node import Kind, Node
from lanemesh.times import seconds_of
from lanemesh.v1 import node_pb2

_POLICIES = {
    node_pb2.OnError.POLICY_UNSPECIFIED: OnErrorPolicy.FAIL,
    node_pb2.OnError.POLICY_SKIP: OnErrorPolicy.SKIP,
    node_pb2.OnError.POLICY_RETRY: OnErrorPolicy.RETRY,
}


def rules_of(instance: node_pb2.Instance, node: type[Node], edges: Iterable[node_pb2.Edge] = ()) -> FiringRules:
    """The firing rules of an instance of a node class with these incoming edges.

    Raises:
        LanemeshError: it reads its own inputs with `run`, and has a setting that requires firings; or it has batches, and is to run
        in a process of its own.
    """
    rules = FiringRules(
        sync_mode=node_pb2.SyncMode.Name(instance.sync_mode).removeprefix("SYNC_MODE_").lower()
        if instance.sync_mode
        else node.sync_mode,
        single_item_inputs=frozenset(instance.single_item_inputs),
        concurrency=instance.concurrency or (node.batch_.firings if node.batch_ is not None else node.concurrency),
        on_error=OnError(
            policy=_POLICIES[instance.on_error.policy],
            attempts=max(1, instance.on_error.attempts),
            backoff=seconds_of(instance.on_error.backoff),
        ),
        join_on=instance.join_on,
        forks={edge.id: tuple(edge.forks) for edge in edges if edge.forks},
    )
    if node.batch_ is not None and instance.isolation == node_pb2.ISOLATION_PROCESS:
        raise _refused(
            instance, "isolation", "has firings of several runs in one batch, so `isolation` cannot be process"
        )
    if node.kind_ is Kind.RUN:
        if rules.on_error.policy is not OnErrorPolicy.FAIL:
            raise _refused(instance, "on_error")
        if rules.concurrency > 1:
            raise _refused(instance, "concurrency")
        if instance.isolation == node_pb2.ISOLATION_PROCESS:
            raise _refused(instance, "isolation")
    return rules


def is_isolated(instance: node_pb2.Instance, node: type[Node]) -> bool:
    """Whether the bodies of an instance run in a separate process."""
    if instance.helper or node.kind_ not in (Kind.PROCESS, Kind.GENERATE):
        return False
    if instance.isolation:
        return instance.isolation == node_pb2.ISOLATION_PROCESS
    return node.isolation == "process"


def _refused(instance: node_pb2.Instance, setting: str, why: str = "") -> LanemeshError:
    why = why or f"implements run, but `{setting}` is only for firings"
    message = f"{instance.component} ({instance.provider}) {why}; remove it"
    details = {"component": instance.component, "provider": instance.provider}
    return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason=f"bad-{setting}", message=message, details=details))
