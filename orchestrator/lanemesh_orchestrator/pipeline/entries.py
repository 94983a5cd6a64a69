"""The fields of a pipeline document, as pydantic models."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

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

LANE_ALIASES = MappingProxyType({"json": "data"})
"""Names of lane types in documents of RocketRide, and what they are here."""

MAX_ITEMS = 1_000_000
"""Largest `buffer_limit`, in items."""
MAX_BYTES = 64 * 1024 * 1024
"""Largest `buffer_bytes`."""
MAX_SECONDS = 366 * 24 * 3600
"""Maximum `timeout`: a year."""

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=128)]
Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class InputEntry(_Entry):
    """An edge, written at its consumer."""

    lane: str = Field(description="Lane type, such as questions or text.")
    producer: str = Field(alias="from", description="Id of the producer.")
    output: str | None = Field(None, description="Output of the producer, if several have the lane type.")
    input: str | None = Field(None, description="Input of this component, if several have the lane type.")
    buffer_limit: int | None = Field(
        None,
        ge=1,
        le=MAX_ITEMS,
        description="Maximum number of items sent and not yet taken; 4096, or 1024 within one process.",
    )
    buffer_bytes: int | None = Field(
        None, ge=1, le=MAX_BYTES, description="Bytes waiting at the consumer above which it stops reading; 1 MiB."
    )
    merge: Literal["group"] | None = Field(None, description="group: deliver one group of pieces after the other.")

    @field_validator("lane")
    @classmethod
    def _named_here(cls, lane: str) -> str:
        return LANE_ALIASES.get(lane, lane)


class ControlEntry(_Entry):
    """A control connection, written at its helper."""

    class_type: str = Field(alias="classType", description="Kind of helper: llm or tool.")
    invoker: str = Field(alias="from", description="Id of the component that calls the helper.")
    name: str = Field("", description="Name by which the component calls it, if it has several helpers.")


class Retry(_Entry):
    """How often a failed firing is tried again."""

    attempts: int = Field(ge=2, le=100, description="Maximum number of attempts.")
    backoff: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = Field(
        1.0, description="Seconds before the second attempt; doubled before each further one."
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
    provider: str = Field(min_length=1, description="Node type.")
    config: dict[str, JsonValue] = Field({}, description="Settings of the node type.")
    input: list[InputEntry] = Field([], description="Edges that end here.")
    control: list[ControlEntry] = Field([], description="Components that call this one as a helper.")
    name: str = Field("", description="Name, for people.")
    description: str = Field("", description="What it is for.")
    sync_mode: Literal["on_any", "zip_all", "join"] | None = Field(None, description="When it fires.")
    join_on: str | None = Field(None, description="Fork by which a join pairs items: component.output.")
    on_error: Literal["fail", "skip"] | RetryEntry = Field("fail", description="What follows a failed firing.")
    timeout: Seconds | None = Field(None, description="Time limit in seconds of one firing, or of the whole of `run`.")
    concurrency: int = Field(1, ge=1, le=10_000, description="Maximum number of concurrent firings.")
    isolation: Literal["thread", "process"] | None = Field(None, description="Where its bodies run.")
    placement: PlacementEntry | None = Field(None, description="Which node servers may host it.")


class PipelineEntry(_Entry):
    """A pipeline."""

    components: list[ComponentEntry] = Field(description="Its nodes.")
    source: str | None = Field(
        None, description="The source of runs that name none; required for these if there are several."
    )
    version: Literal[1] = Field(1, description="Version of this format.")
    name: str = Field("", description="Name, for people.")
    timeout: Seconds | None = Field(None, description="Time limit of a run in seconds.")
    trace: Literal["none", "metadata", "summary", "full"] = Field(
        "none", description="What is reported of each item that reaches a node."
    )
