"""Which pipeline a node runs, and the failure of that run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lanemesh import Code, Deployed, Fault, LanemeshError, Run
from pydantic import BaseModel, Field

from lanemesh_services.flow.errors import FlowError, bad_setting

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Largest file of a pipeline."""


class PipelineSettings(BaseModel):
    """The settings that name a pipeline."""

    pipeline: str = Field("", description='Name of a deployed pipeline, such as "@chat" or "@chat:2".')
    file: str = Field(
        "",
        json_schema_extra={"format": "path"},
        description="Or the path of a pipeline's file, relative to the file of this pipeline; on a remote mesh, to the node "
        "server's working directory.",
    )
    document: dict[str, Any] = Field(
        default={}, json_schema_extra={"format": "remote-url"}, description="Or the document of a pipeline."
    )
    source: str = Field("", description="The source that it feeds, of a pipeline with several.")
    settings: dict[str, Any] = Field(
        default={}, description='Settings of its components, such as {"llm_1.temperature": 0}.'
    )


def pipeline_of(where: str, config: PipelineSettings) -> Deployed | Path | dict[str, Any]:
    """The pipeline that the settings name. `where` is the component or node type, for errors. May look at the file.

    Raises:
        LanemeshError: none or several are named, or there is no such file.
    """
    if sum(map(bool, (config.pipeline, config.file, config.document))) != 1:
        why = "or more than one of config.file and config.document is set, or none is"
        raise bad_setting(
            where, "pipeline", why, "Set exactly one of config.pipeline, config.file and config.document."
        )
    if config.pipeline:
        return Deployed.parse(f"@{config.pipeline.removeprefix('@')}")
    return _file(where, config.file) if config.file else config.document


def pipeline_name(config: PipelineSettings) -> str:
    """The pipeline in words."""
    if config.pipeline:
        return f"@{config.pipeline.removeprefix('@')}"
    return config.file or str(config.document.get("name") or "of config.document")[:200]


@asynccontextmanager
async def pipeline_failed(config: PipelineSettings, run: Run) -> AsyncIterator[None]:
    """Context manager around a run: its failure becomes that of the node, with the same code and reason, and the place within the
    pipeline."""
    try:
        yield
    except FlowError:
        raise
    except LanemeshError as error:
        if run.id and run.state not in ("failed", "cancelled"):
            raise  # of the node's own lanes
        raise FlowError(_failure(run.id, pipeline_name(config), error.fault)) from error


def _failure(run_id: str, name: str, cause: Fault) -> Fault:
    inner = cause.details.get("component", "")
    place = f", in its component {inner}" if inner else ""
    happened = f"failed{place}" if run_id else "cannot start"
    details = {key: value for key, value in (("run", run_id), ("inner_component", inner)) if value}
    code = cause.code if cause.code is not Code.OK else Code.UNKNOWN
    message = f"the pipeline {name} {happened}: {cause.message}"
    return replace(cause, code=code, message=message, details=details, secondary=False)


def _file(where: str, file: str) -> Path:
    """Raises LanemeshError if a file is not there, or too large."""
    try:
        path = Path(file).expanduser()
        size = path.stat().st_size
    except (OSError, ValueError, RuntimeError) as error:
        hint = "A relative path counts from the folder of the pipeline's file, or from the node server's working directory."
        raise bad_setting(where, "file", f"cannot be read: {error}", hint) from None
    if not path.is_file() or size > MAX_FILE_BYTES:
        raise bad_setting(where, "file", f"is not a file of at most 16 MiB: {path}", "Name the file of a pipeline.")
    return path
