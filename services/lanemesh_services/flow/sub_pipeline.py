"""A pipeline as a node of another one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from lanemesh import (
    Answer,
    Audio,
    Code,
    Context,
    Deployed,
    Document,
    Envelope,
    Fault,
    Group,
    Image,
    In,
    Inputs,
    Json,
    LanemeshError,
    Node,
    Out,
    Outputs,
    OutputUpdate,
    ProgressUpdate,
    Question,
    Run,
    Table,
    Tags,
    Video,
    Whole,
)
from lanemesh.extend import in_thread, mesh_of
from pydantic import BaseModel, Field

from lanemesh_services.flow.errors import FlowError, bad_setting

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Largest file of a pipeline."""


class SubPipeline(Node):
    """Runs a pipeline as a node: a deployed one, the document of a file, or a document.

    Its inputs are those of the pipeline's source, its outputs are what reaches the pipeline's targets. All items of a run go
    through one run of that pipeline, on the same mesh and in the same session. It is cancelled with this node, and its failure is
    that of this node.
    """

    class Config(BaseModel):
        """Settings. One of `pipeline`, `file` and `document` is set."""

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
        settings: dict[str, Any] = Field(
            default={}, description='Settings of its components, such as {"llm_1.temperature": 0}.'
        )
        targets: list[str] = Field(
            default=[],
            max_length=64,
            json_schema_extra={"format": "output-names"},
            description="Targets whose items leave by an output of their own, with the name of the target. Those of the other "
            "targets leave by the outputs named after their lanes.",
        )
        timeout: float | None = Field(None, gt=0, le=86_400, description="Time limit of its run, in seconds.")

    items: In[Whole[Any]] = None
    text: Out[str]
    questions: Out[Question]
    answers: Out[Answer]
    documents: Out[Document]
    table: Out[Table]
    tags: Out[Tags]
    image: Out[Image]
    audio: Out[Audio]
    video: Out[Video]
    data: Out[Json]
    target: Out[Any]

    @classmethod
    async def load(cls, config: Any) -> None:
        """Checks the settings. Raises LanemeshError if they contradict each other, or there is no such file."""
        if sum(map(bool, (config.pipeline, config.file, config.document))) != 1:
            raise bad_setting(
                cls.provider,
                "pipeline",
                "or more than one of config.file and config.document is set, or none is",
                "Set exactly one of config.pipeline, config.file and config.document.",
            )
        if config.pipeline:
            Deployed.parse(f"@{config.pipeline.removeprefix('@')}")
        if config.file:
            await in_thread(_check_file, cls.provider, config.file)

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Feeds the items to a run of the pipeline, and emits what it returns.

        Raises:
            LanemeshError: the run failed, with its cause; or the pipeline cannot be started.
        """
        left = [seconds for seconds in (context.time_left, self.config.timeout) if seconds is not None]
        timeout = max(min(left), 0.001) if left else None
        async with mesh_of(context) as mesh, AsyncExitStack() as stack:
            try:
                run = await stack.enter_async_context(
                    mesh.run(
                        self._pipeline(),
                        open_input=True,
                        settings=self.config.settings or None,
                        timeout=timeout,
                        session=context.session,
                    )
                )
            except OSError as error:
                raise bad_setting(self.provider, "file", f"cannot be read: {error}", "Check the file.") from None
            except LanemeshError as error:
                raise self._failed("", error.fault) from error
            context.log.info("run %s of %s began", run.id, self._name())
            feeding = asyncio.create_task(_feed(run, inputs), name=f"{context.component} inputs")
            try:
                await self._emit(run, context, outputs)
            finally:
                feeding.cancel()
                await asyncio.wait([feeding])
            if run.state != "completed":
                try:
                    run.raise_unless_completed()
                except LanemeshError as error:
                    raise self._failed(run.id, error.fault) from error
            if not feeding.cancelled():
                feeding.result()

    async def _emit(self, run: Run, context: Context, outputs: Outputs) -> None:
        """Emits the outputs of a run until it ends."""
        unconnected: Counter[str] = Counter()
        async for update in run.updates():
            match update:
                case OutputUpdate():
                    port = update.component if update.component in self.config.targets else update.lane
                    if port not in context.connected_outputs:
                        unconnected[port] += 1
                        continue
                    await outputs.emit(port, update.value, _envelope(update, context))
                case ProgressUpdate():
                    message = f"{update.component}: {update.message}"[:1_000]
                    context.progress(update.done, update.total, message)
        for port, count in unconnected.items():
            context.log.warning("%d items on %s had no consumer", count, port)

    def _pipeline(self) -> Any:
        """What is run."""
        if self.config.pipeline:
            return Deployed.parse(f"@{self.config.pipeline.removeprefix('@')}")
        return Path(self.config.file).expanduser() if self.config.file else self.config.document

    def _name(self) -> str:
        """The pipeline in words."""
        if self.config.pipeline:
            return f"@{self.config.pipeline.removeprefix('@')}"
        return self.config.file or str(self.config.document.get("name") or "of config.document")

    def _failed(self, run_id: str, cause: Fault) -> LanemeshError:
        """The failure of the node for that of its run: the same code and reason, with the place within the pipeline."""
        inner = cause.details.get("component", "")
        place = f", in its component {inner}" if inner else ""
        happened = f"failed{place}" if run_id else "cannot start"
        message = f"the pipeline {self._name()} {happened}: {cause.message}"
        details = {key: value for key, value in (("run", run_id), ("inner_component", inner)) if value}
        code = cause.code if cause.code is not Code.OK else Code.UNKNOWN
        return FlowError(replace(cause, code=code, message=message, details=details, secondary=False))


async def _feed(run: Run, inputs: Inputs) -> None:
    """Pushes every item to the run, in order, and then ends its input."""
    try:
        async for item in inputs.stream("items"):
            await run.push(item)
    finally:
        await run.end_input()


def _envelope(update: OutputUpdate, context: Context) -> Envelope | None:
    """The envelope of an output, with its group under a name that is unique in this run."""
    if update.group is None and update.metadata is None:
        return None
    group: Group | None = update.group
    if group is not None:
        group = replace(group, id=f"{context.component}.{group.id}")
    metadata: Mapping[str, str] | None = update.metadata
    return Envelope(group=group, metadata=metadata, created_at=update.created_at)


def _check_file(provider: str, file: str) -> None:
    """Raises LanemeshError if a file is not there, or too large."""
    try:
        path = Path(file).expanduser()
        size = path.stat().st_size
    except (OSError, ValueError, RuntimeError) as error:
        hint = "A relative path counts from the folder of the pipeline's file, or from the node server's working directory."
        raise bad_setting(provider, "file", f"cannot be read: {error}", hint) from None
    if not path.is_file() or size > MAX_FILE_BYTES:
        raise bad_setting(provider, "file", f"is not a file of at most 16 MiB: {path}", "Name the file of a pipeline.")
