"""The names, limits and records of deployed pipelines, and the interface of their store."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.times import seconds_of
from lanemesh.v1 import run_pb2, update_pb2

from lanemesh_orchestrator.pipeline.faults import listed, nearest
from lanemesh_orchestrator.pipeline.graph import Graph

MAX_DEPLOYMENTS = 1_000
"""Maximum number of deployed pipelines of an orchestrator."""
MAX_VERSIONS = 100
"""Maximum number of kept versions of one, including the current one."""
MAX_SPEC_BYTES = 1024 * 1024
"""Maximum size of a deployed pipeline with its settings: 1 MiB."""
MAX_SUPERSEDED_BYTES = 64 * 1024 * 1024
"""Maximum size of the superseded versions of all deployed pipelines: 64 MiB."""

_NAME = re.compile(r"[a-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class DeploymentRecord:
    """One version of a deployed pipeline."""

    name: str
    """Its name."""
    version: int
    """Its number, from 1."""
    spec: bytes
    """Its spec: the serialised `RunSpec`, unchanged. The values of `${NAME}` are not in it."""
    created_at: float
    """When it was deployed, in seconds since 1970."""
    folder: str = ""
    """What relative paths in its configs count from; empty: they stay unchanged, as those of clients do."""


class DeploymentStore(Protocol):
    """Stores the versions of deployed pipelines."""

    async def add(self, name: str, version: int, spec: bytes, created_at: float, folder: str) -> None:
        """Remembers a version, the latest of its name."""

    async def remove(self, name: str) -> None:
        """Deletes every version of a name."""

    async def forget(self, versions: Sequence[tuple[str, int]]) -> None:
        """Deletes versions, each by its name and its number."""

    async def all(self) -> Sequence[DeploymentRecord]:
        """Every stored version, in any order."""


class MemoryDeployments:
    """Stores nothing: the orchestrator keeps deployments in memory."""

    async def add(self, name: str, version: int, spec: bytes, created_at: float, folder: str) -> None:
        """No effect."""

    async def remove(self, name: str) -> None:
        """No effect."""

    async def forget(self, versions: Sequence[tuple[str, int]]) -> None:
        """No effect."""

    async def all(self) -> Sequence[DeploymentRecord]:
        """None."""
        return ()


def check_name(name: str) -> None:
    """Raises LanemeshError unless the name is valid for a deployed pipeline."""
    if not _NAME.fullmatch(name):
        what = 'lower-case letters, digits, "-" and "_", at most 64 of them'
        raise refused("bad-name", f'"{name[:80]}" is not a valid name of a deployed pipeline: a name is {what}')


def check_spec(spec: run_pb2.RunSpec) -> None:
    """Raises LanemeshError for a spec that cannot be deployed with any pipeline."""
    if spec.HasField("deployment"):
        raise refused("two-pipelines", "a pipeline is deployed by its document, not by the name of a deployed pipeline")
    if spec.ByteSize() > MAX_SPEC_BYTES:
        message = (
            f"the pipeline and its settings have {spec.ByteSize():,} bytes; at most {MAX_SPEC_BYTES:,} are deployed"
        )
        raise LanemeshError(Fault(code=Code.RESOURCE_EXHAUSTED, reason="too-large", message=message))
    if spec.HasField("timeout") and spec.timeout.ToNanoseconds() <= 0:
        raise refused("bad-timeout", "the timeout of a run must be greater than 0 seconds; omit it for no timeout")


def without_variables(spec: run_pb2.RunSpec) -> run_pb2.RunSpec:
    """The stored spec of a deployed pipeline, without its variables, which are secrets, and without a session."""
    stored = run_pb2.RunSpec()
    stored.CopyFrom(spec)
    stored.variables.clear()
    stored.session_id = ""
    stored.ClearField("conversation")
    return stored


def with_own(deployed: run_pb2.RunSpec, own: run_pb2.RunSpec) -> run_pb2.RunSpec:
    """The spec of a deployed pipeline for one run: with the run's own settings and variables on top. Its own setting of a key
    replaces also those of the deployment within that key."""
    spec = run_pb2.RunSpec()
    spec.CopyFrom(deployed)
    for key in deployed.settings_json:
        if any(key[:end] in own.settings_json for end, letter in enumerate(key) if letter == "."):
            del spec.settings_json[key]
    for key, value in own.settings_json.items():
        spec.settings_json[key] = value
    for key, value in own.variables.items():
        spec.variables[key] = value
    return spec


def stamped(graph: Graph, record: DeploymentRecord, spec: run_pb2.RunSpec) -> Graph:
    """The graph of a deployed pipeline for its runs: with its name and version, and the timeout and trace level of the
    deployment."""
    timeout = seconds_of(spec.timeout) if spec.HasField("timeout") else graph.timeout
    trace = graph.trace
    if spec.trace:
        trace = update_pb2.TraceLevel.Name(spec.trace).removeprefix("TRACE_LEVEL_").lower()
    name, version = record.name, record.version
    return graph.once(
        ("deployed", name, version, timeout, trace),
        lambda: replace(graph, timeout=timeout, trace=trace, deployment=name, deployment_version=version),
    )


def unknown_name(name: str, known: Sequence[str]) -> LanemeshError:
    """The error that there is no deployed pipeline with this name, with the nearest one."""
    near = nearest(name, known)
    hint = f'Nearest: "{near}". ' if near else ""
    message = f'there is no deployed pipeline "{name[:80]}". {hint}`lanemesh deployments` lists them'
    return LanemeshError(Fault(code=Code.NOT_FOUND, reason="unknown-deployment", message=message))


def unknown_version(name: str, version: int, known: Iterable[int]) -> LanemeshError:
    """The error that a deployed pipeline has no such version, or no longer has it."""
    has = listed([str(number) for number in sorted(known, reverse=True)])
    message = f'the deployed pipeline "{name}" has no version {version}, or no longer has it; it has {has}'
    return LanemeshError(Fault(code=Code.NOT_FOUND, reason="unknown-version", message=message))


def refused(reason: str, message: str) -> LanemeshError:
    """The error for an invalid argument."""
    return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason=reason, message=message))
