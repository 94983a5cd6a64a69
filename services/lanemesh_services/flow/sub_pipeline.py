"""A pipeline as a node of another one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from lanemesh import (
    Answer,
    Audio,
    Context,
    Document,
    Envelope,
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
    Question,
    Run,
    Table,
    Tags,
    Video,
    Whole,
)
from lanemesh.extend import ABSENT, Item, in_thread, mesh_of
from pydantic import Field

from lanemesh_services.flow.reports import pass_on
from lanemesh_services.flow.targets import PipelineSettings, pipeline_failed, pipeline_name, pipeline_of


class SubPipeline(Node):
    """Runs a pipeline as a node: a deployed one, the document of a file, or a document.

    Its inputs are those of the pipeline's source, its outputs are what reaches the pipeline's targets. All items of a run go
    through one run of that pipeline, or with `each` each through its own, on the same mesh and in the same session. It is cancelled
    with this node, and its failure is that of this node. What its models use counts as used by this node.
    """

    class Config(PipelineSettings):
        """Settings. One of `pipeline`, `file` and `document` is set."""

        targets: list[str] = Field(
            default=[],
            max_length=64,
            json_schema_extra={"format": "output-names"},
            description="Targets whose items leave by an output of their own, with the name of the target. Those of the other "
            "targets leave by the outputs named after their lanes.",
        )
        timeout: float | None = Field(None, gt=0, le=86_400, description="Time limit of its run, in seconds.")
        each: bool = Field(
            False,
            description="A run for each item, one after the other: what it returns descends from the item, so that a join after it "
            "matches both. False: one run for all items.",
        )

    items: Annotated[In[Whole[Any]], "What its source gets."] = None
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
    target: Annotated[Out[Any], "What reaches one of `targets` leaves by an output of its name."]

    @classmethod
    async def load(cls, config: Any) -> None:
        """Checks the settings. Raises LanemeshError if they contradict each other, or there is no such file."""
        await in_thread(pipeline_of, cls.provider, config)

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Feeds the items to a run of the pipeline, and emits what it returns.

        Raises:
            LanemeshError: the run failed, with its cause; or the pipeline cannot be started.
        """
        target = await in_thread(pipeline_of, context.component, self.config)
        async with mesh_of(context) as mesh:
            if not self.config.each:
                await self._together(context, self._started(context, mesh, target, open_input=True), inputs, outputs)
                return
            number = 0
            async for _, item in inputs.iter_items():
                if item.value is not ABSENT:
                    number += 1
                    run = self._started(context, mesh, target, input=item.value)
                    async with pipeline_failed(self.config, run), run:
                        await self._emit(run, context, outputs, f"{context.component}.{number}", item)
                        run.raise_unless_completed()
                await outputs.done_with(item)

    def _started(self, context: Context, mesh: Any, target: Any, **given: Any) -> Run:
        left = [seconds for seconds in (context.time_left, self.config.timeout) if seconds is not None]
        run: Run = mesh.run(
            target,
            settings=self.config.settings or None,
            source=self.config.source,
            timeout=max(min(left), 0.001) if left else None,
            session=context.session,
            **given,
        )
        return run

    async def _together(self, context: Context, run: Run, inputs: Inputs, outputs: Outputs) -> None:
        """Feeds all items to one run."""
        async with pipeline_failed(self.config, run), run:
            context.log.info("run %s of %s began", run.id, pipeline_name(self.config))
            feeding = asyncio.create_task(_feed(run, inputs), name=f"{context.component} inputs")
            try:
                await self._emit(run, context, outputs, context.component)
            finally:
                feeding.cancel()
                await asyncio.wait([feeding])
            run.raise_unless_completed()
            if not feeding.cancelled():
                feeding.result()

    async def _emit(
        self, run: Run, context: Context, outputs: Outputs, groups: str, source: Item | None = None
    ) -> None:
        """Emits the outputs of a run until it ends. `groups` begins the names of their groups; they descend from `source`."""
        unconnected: Counter[str] = Counter()
        async for update in run.updates():
            if not isinstance(update, OutputUpdate):
                await pass_on(update, context, run.id)
                continue
            port = update.component if update.component in self.config.targets else update.lane
            if port in context.connected_outputs:
                await outputs.emit(port, update.value, _envelope(update, groups), source=source)
            else:
                unconnected[port] += 1
        for port, count in unconnected.items():
            context.log.warning("%d items on %s had no consumer", count, port)


async def _feed(run: Run, inputs: Inputs) -> None:
    """Pushes every item to the run, in order, and then ends its input."""
    try:
        async for item in inputs.stream("items"):
            await run.push(item)
    except LanemeshError:  # of the producer, or of an item that the source rejects
        await run.end_input()
        raise
    await run.end_input()


def _envelope(update: OutputUpdate, groups: str) -> Envelope | None:
    """The envelope of an output, with its group under a name that is unique in this run."""
    if update.group is None and update.metadata is None:
        return None
    group: Group | None = update.group
    if group is not None:
        group = replace(group, id=f"{groups}.{group.id}")
    metadata: Mapping[str, str] | None = update.metadata
    return Envelope(group=group, metadata=metadata, created_at=update.created_at)
