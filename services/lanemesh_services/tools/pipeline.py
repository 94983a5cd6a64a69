"""A pipeline as a tool."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from lanemesh import (
    Answer,
    Context,
    Deployed,
    Document,
    Media,
    OutputUpdate,
    ProgressUpdate,
    ThoughtUpdate,
    ToolNode,
    ToolProgress,
    tool,
)
from lanemesh.extend import CallFailed, ToolFunction, mesh_of
from pydantic import BaseModel, Field

from lanemesh_services.tools.errors import bad_setting

MAX_OUTPUT = 4_000_000
"""Most characters and bytes of all outputs of a run together."""
MAX_OUTPUTS = 10_000
"""Most outputs of a run."""


class ToolPipeline(ToolNode):
    """Offers a pipeline as a tool: a deployed one by its name, or a document.

    A call is a run of its own on the same mesh, in the session of the calling run. Cancelling the call cancels the run.
    """

    class Config(BaseModel):
        """Settings of the pipeline. Either `pipeline` or `document` is set."""

        pipeline: str = Field("", description='Name of a deployed pipeline, such as "@chat" or "@chat:2".')
        document: dict[str, Any] = Field(
            default={}, description="Or the document of a pipeline.", json_schema_extra={"format": "remote-url"}
        )
        name: str = Field("", description="Name of the tool for models; default: that of the deployed pipeline.")
        description: str = Field(description="What the pipeline does and when to use it, for models.")
        timeout: float = Field(600, gt=0, le=86_400, description="Time limit of a run, in seconds.")

    @classmethod
    async def load(cls, config: Any) -> ToolFunction:
        """Describes the tool. Raises LanemeshError if the settings contradict each other."""
        if bool(config.pipeline) == bool(config.document):
            why = "is set together with config.document" if config.pipeline else "is not set"
            raise bad_setting(cls.provider, "pipeline", why, "Set one of config.pipeline and config.document.")
        deployed = Deployed.parse(f"@{config.pipeline.removeprefix('@')}") if config.pipeline else None
        name = config.name or (deployed.name if deployed is not None else "")
        if not name:
            raise bad_setting(cls.provider, "name", "is not set", "A document needs a name for its tool.")
        target = deployed if deployed is not None else config.document

        @tool(name=name, description=config.description, timeout=config.timeout)
        async def run_pipeline(input: str, context: Context) -> AsyncGenerator[Any, None]:  # noqa: A002
            """Runs the pipeline.

            Args:
                input: The input of the pipeline: a text.
            """
            outputs = _Outputs()
            left = context.time_left
            timeout = config.timeout if left is None else max(min(config.timeout, left), 0.001)
            async with (
                mesh_of(context) as mesh,
                mesh.run(target, input=input, timeout=timeout, session=context.session) as run,
            ):
                async for update in run.updates():
                    match update:
                        case OutputUpdate():
                            outputs.add(update)
                        case ProgressUpdate():
                            fraction = min(update.done / update.total, 1.0) if update.total > 0 <= update.done else None
                            yield ToolProgress(f"{update.component}: {update.message}"[:1_000], fraction)
                        case ThoughtUpdate():
                            yield ToolProgress(f"{update.component}: {update.text}"[:1_000])
                run.raise_unless_completed()
            yield outputs.value()

        return ToolFunction(run_pipeline, cls.provider)

    def tools(self) -> Mapping[str, ToolFunction]:
        """The pipeline by the name of the tool."""
        return {self.resource.name: self.resource}


class _Outputs:
    """The outputs of a run, within their bounds."""

    def __init__(self) -> None:
        self._values: dict[str, list[Any]] = {}
        self._size = self._count = 0

    def add(self, output: OutputUpdate) -> None:
        """Adds an output. A text is appended to the text before it. Raises CallFailed if there is too much."""
        self._count += 1
        value = output.value
        if isinstance(value, Answer):
            value = value.text if value.data is None else value.data
        self._size += _size(value)
        if self._size > MAX_OUTPUT or self._count > MAX_OUTPUTS:
            raise CallFailed("bad-result", "the pipeline returned too much. Ask for less, or for a part of it")
        values = self._values.setdefault(output.component, [])
        if isinstance(value, str) and values and isinstance(values[-1], str):
            values[-1] += value
        elif value != "":
            values.append(value)

    def value(self) -> Any:
        """All outputs: one as it is, several as a list, those of several components by component."""
        found = {component: values[0] if len(values) == 1 else values for component, values in self._values.items()}
        return next(iter(found.values())) if len(found) == 1 else found or None


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Media):
        return len(value.content)
    if isinstance(value, Document):
        return len(value.content) + (len(value.file.content) if value.file is not None else 0)
    return 0
