"""The bodies and queries of the HTTP API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from lanemesh.client.specs import MAX_NAME
from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from lanemesh_orchestrator.gateway.bodies import Body, Query

MAX_SECONDS = 10 * 366 * 86_400
"""Longest timeout, in seconds: ten years."""


def _runnable(value: Any) -> Any:
    """A document, or the name of a deployed pipeline: never the path of a file."""
    if isinstance(value, dict) or (isinstance(value, str) and value.startswith("@") and len(value) <= MAX_NAME):
        return value
    if isinstance(value, str):
        message = 'write a deployed pipeline as "@NAME", such as "@chat", and a document as a JSON object'
        raise PydanticCustomError("bad_pipeline", message)
    raise PydanticCustomError("pipeline_type", 'it is a JSON object, or the name of a deployed pipeline as "@NAME"')


_RUNNABLE_SCHEMA = {
    "description": 'A pipeline document, or a deployed pipeline as "@NAME" or "@NAME:VERSION".',
    "anyOf": [{"type": "object"}, {"type": "string", "pattern": "^@", "maxLength": MAX_NAME}],
}
Runnable = Annotated[Any, PlainValidator(_runnable), WithJsonSchema(_RUNNABLE_SCHEMA)]
Document = Annotated[dict[str, Any], Field(description="A pipeline document.")]
Settings = Annotated[
    dict[str, Any],
    Field(description='Changes to configs: "component.key" to a JSON value, such as {"llm.temperature": 0}.'),
]
Variables = Annotated[
    dict[str, str], Field(description="Values of ${NAME} in the document. They are treated as secrets.")
]
Timeout = Annotated[
    float | None, Field(gt=0, le=MAX_SECONDS, description="Time limit of a run in seconds; null: that of the pipeline.")
]
Port = Annotated[str, Field(description="Output of the source that sends the values; empty: every output that can.")]


class StartRun(Body):
    """A run to start."""

    pipeline: Runnable
    input: Any = Field(None, description="One value for the source; null: no input.")
    inputs: list[Any] | None = Field(None, max_length=10_000, description="Several values for the source, in order.")
    open_input: bool = Field(False, description="Further values follow by POST /v1/runs/{run_id}/input.")
    settings: Settings = Field(default_factory=dict)
    timeout: Timeout = None
    trace: Literal["none", "metadata", "summary", "full"] | None = Field(
        None, description="What is reported of each item that reaches a node; null: the level of the pipeline."
    )
    variables: Variables = Field(default_factory=dict)
    session: str = Field(
        "",
        description="The session that the run is the next turn of, instead of the header Lanemesh-Session; empty: none. It is "
        "created by its first turn.",
    )
    source: str = Field(
        "",
        max_length=128,
        description="The source to run, by its id, of a pipeline that has several; the rest that it does not reach is left out. "
        "Empty: that of the document, or the only one that clients feed.",
    )
    detached: bool = Field(
        True,
        description="The run continues without its caller. False: the response is the stream of its events, which needs "
        "`Accept: text/event-stream`, and a broken connection cancels the run.",
    )


class ListSessions(Query):
    """The filter of a list of sessions."""

    limit: int = Field(100, ge=1, le=1_000, description="Most sessions.")
    deployment: str = Field("", description="Only sessions of this deployed pipeline; empty: all.")


class ForkSession(Body):
    """A fork of a session."""

    turn: int = Field(0, ge=0, lt=2**31, description="Number of the last turn that the new session has; 0: all.")
    id: str = Field("", description="The id of the new session, which others cannot guess; empty: a random one.")


class FeedRun(Body):
    """Values for the source of a run."""

    value: Any = Field(None, description="One value.")
    values: list[Any] | None = Field(None, max_length=10_000, description="Several values, in order.")
    port: Port = ""
    end: bool = Field(False, description="No further values follow.")


class CancelRun(Body):
    """The cancellation of a run."""

    reason: str = Field("cancelled by a client", max_length=1_000, description="Why, in words.")


class DecideApproval(Body):
    """The decision about an approval."""

    approved: bool = Field(description="True: approved. False: refused.")
    reason: str = Field("", max_length=10_000, description="Of a refusal: why, for the component and its model.")
    component: str = Field("", description="The component that waits; empty: the only one with an approval of that id.")


class Deploy(Body):
    """A pipeline to deploy."""

    pipeline: Document
    settings: Settings = Field(default_factory=dict)
    timeout: Timeout = None
    variables: Variables = Field(default_factory=dict)


class Validate(Body):
    """A pipeline to validate."""

    pipeline: Runnable
    settings: Settings = Field(default_factory=dict)
    variables: Variables = Field(default_factory=dict)
    source: str = Field("", max_length=128, description="The source of the run to check; empty: the whole pipeline.")


class Publish(Body):
    """A message for a channel."""

    message: Any = Field(description="Any JSON value.")
    publisher: str = Field("", max_length=128, description="The name that subscribers get; empty: client.")


class ListRuns(Query):
    """Filters the list of runs."""

    limit: int = Field(100, ge=1, le=1_000, description="Most runs on the page.")
    state: list[Literal["starting", "running", "completed", "failed", "cancelled"]] = Field(
        [], description="Only runs in this state; may be repeated."
    )
    deployment: str = Field("", description="Only runs of this deployed pipeline.")
    page: str = Field("", description="`next_page` of the previous page.")


class WatchRun(Query):
    """Where a stream of updates begins."""

    after: int = Field(0, ge=0, description="Number of the last update that the client has.")


class GetDeployment(Query):
    """Selects a version."""

    version: int = Field(0, ge=0, le=2**31, description="The version; 0: the current one.")


class Subscribe(Query):
    """How a subscriber gets messages."""

    overflow: Literal["drop_oldest", "block"] = Field(
        "drop_oldest",
        description="When `limit` messages wait: drop the oldest, or let publishers wait at most 5 s; then the stream ends.",
    )
    limit: int = Field(256, ge=1, le=65_536, description="Most messages that wait for the subscriber.")
