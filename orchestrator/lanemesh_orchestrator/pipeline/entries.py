"""The pipeline document's fields: what a `.pipe` file may say, as pydantic models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

EDITOR_KEYS = (
    "$schema",
    "description",
    "docRevision",
    "editorMode",
    "flags",
    "isLocked",
    "project_id",
    "snapGridSize",
    "snapToGrid",
    "ui",
    "viewport",
)
"""Keys of visual editors, of the document and of its components: kept and ignored, where they are no field."""

EDITOR_CONFIG_KEYS = ("formDataValid", "hideForm", "laneName", "lanes", "mode", "name", "parameters", "type")
"""Keys of visual editors in a `config`, and RocketRide's names of results: ignored where the node type's config has no such field.
`type` is ignored only if it repeats the provider, `lanes` only if it is an array; the values in `parameters` are taken as if they
stood beside it."""

MAX_ITEMS = 1_000_000
"""Largest `buffer_limit`, in items."""
MAX_BYTES = 64 * 1024 * 1024
"""Largest `buffer_bytes`."""
MAX_SECONDS = 366 * 24 * 3600
"""Longest `timeout`: a year."""

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=128)]
Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class InputEntry(_Entry):
    """An edge, written at its consumer."""

    lane: str = Field(description="Lane type, such as questions or text.")
    producer: str = Field(alias="from", description="Id of the component that sends.")
    output: str | None = Field(None, description="Output of the producer, where the lane type leaves a choice.")
    input: str | None = Field(None, description="Input of this component, where the lane type leaves a choice.")
    buffer_limit: int | None = Field(
        None, ge=1, le=MAX_ITEMS, description="Most items sent and not yet taken; 4096, or 1024 within one process."
    )
    buffer_bytes: int | None = Field(
        None, ge=1, le=MAX_BYTES, description="Bytes waiting at the consumer past which it reads no more; 1 MiB."
    )
    merge: Literal["group"] | None = Field(None, description="group: the pieces of one whole stay together.")


class ControlEntry(_Entry):
    """A control connection, written at its helper."""

    class_type: str = Field(alias="classType", description="What the helper is to the invoker: llm or tool.")
    invoker: str = Field(alias="from", description="Id of the component that calls.")
    name: str = Field("", description="What the component that calls it knows it by, where it has several helpers.")


class Retry(_Entry):
    """How often a failed firing is tried again."""

    attempts: int = Field(ge=2, le=100, description="Most attempts in all.")
    backoff: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = Field(
        1.0, description="Seconds before the second; doubled before each further one."
    )


class RetryEntry(_Entry):
    """Failed firings are tried again."""

    retry: Retry


class PlacementEntry(_Entry):
    """Where a component may live."""

    labels: dict[str, str] = Field({}, description="Labels that the node server must have.")


class ComponentEntry(_Entry):
    """One node of the pipeline."""

    id: Id = Field(description="Unique within the pipeline.")
    provider: str = Field(min_length=1, description="Node type that it is made from.")
    config: dict[str, JsonValue] = Field({}, description="Settings of the node type.")
    input: list[InputEntry] = Field([], description="Edges that end here.")
    control: list[ControlEntry] = Field([], description="Components that this one helps.")
    name: str = Field("", description="Name, for people.")
    description: str = Field("", description="What it is for.")
    sync_mode: Literal["on_any", "zip_all", "join"] | None = Field(None, description="When it fires.")
    join_on: str | None = Field(None, description="The output whose items a join pairs by: component.output.")
    on_error: Literal["fail", "skip"] | RetryEntry = Field("fail", description="What a failed firing means.")
    timeout: Seconds | None = Field(None, description="Seconds that one firing, or the whole of `run`, may take.")
    concurrency: int = Field(1, ge=1, le=10_000, description="Most firings at once.")
    isolation: Literal["thread", "process"] | None = Field(None, description="Where its bodies run.")
    placement: PlacementEntry | None = Field(None, description="Where it may live.")


class PipelineEntry(_Entry):
    """A pipeline."""

    components: list[ComponentEntry] = Field(description="Its nodes.")
    source: str | None = Field(None, description="The component that the client feeds; needed if several could be.")
    version: Literal[1] = Field(1, description="Version of this format.")
    name: str = Field("", description="Name, for people.")
    timeout: Seconds | None = Field(None, description="Seconds that a run may take in all.")
    trace: Literal["none", "metadata", "summary", "full"] = Field(
        "none", description="How much is told of each item that reaches a node."
    )
