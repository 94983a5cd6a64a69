"""A cache before a model, and around a pipeline."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from lanemesh import (
    Answer,
    ChatEvent,
    ChatFinish,
    ChatRequest,
    ChatText,
    Context,
    Document,
    In,
    Invokes,
    Json,
    LanemeshError,
    LlmClient,
    Node,
    Out,
    OutputUpdate,
    Usage,
    Whole,
)
from lanemesh.extend import in_thread, mesh_of
from pydantic import Field

from lanemesh_services.flow.errors import bad_setting
from lanemesh_services.flow.reports import pass_on
from lanemesh_services.flow.store import Draft, Store
from lanemesh_services.flow.targets import PipelineSettings, pipeline_failed, pipeline_name, pipeline_of
from lanemesh_services.flow.values import content_hash, memory_of
from lanemesh_services.flow.versions import Deployments, content_of

MAX_VALUES = 10_000
"""Most values of one result that are kept."""


class Cache(Node):
    """Keeps results by the content of what was asked, and returns them when it is asked the same again.

    As a model for another node, it keeps the answers of the model that is connected to it. With an input, it keeps what a pipeline
    returns for each item, apart for each session and each version of the pipeline and of the deployed ones that it names. A result
    is kept only when it is complete. What is kept is shared by all runs on its node server.
    """

    offers = ("llm",)
    invokes = (Invokes("llm", 0, 1),)

    class Config(PipelineSettings):
        """Settings of the cache. With an input, one of `pipeline`, `file` and `document` is set."""

        name: str = Field(
            "",
            max_length=128,
            description="As a model: the model whose answers are kept. Caches of the same name and settings share them, so use "
            "another name for another model. Default: answers are kept within a run.",
        )
        entries: int = Field(
            1_000, ge=1, le=1_000_000, description="Most results; those used longest ago are forgotten."
        )
        megabytes: float = Field(64, gt=0, le=4_096, description="Most megabytes of all results together.")
        seconds: float | None = Field(None, gt=0, description="How long a result is valid; default: any time.")

    item: Annotated[In[Whole[Any]], "What the pipeline is asked."] = None
    text: Annotated[Out[str], "Texts that reach its targets."]
    answers: Annotated[Out[Answer], "Answers that reach its targets."]
    documents: Annotated[Out[Document], "Documents that reach its targets."]
    data: Annotated[Out[Json], "Data that reach its targets."]

    @classmethod
    async def load(cls, config: Any) -> Store:
        """An empty store."""
        return Store(config.entries, int(config.megabytes * 1024 * 1024), config.seconds)

    async def chat(self, context: Context, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """The kept answer to an equal request, without its usage; else that of the connected model, as it comes."""
        if not len(context.llms):
            why = "is used as a model, but no model is connected to it"
            control = f'"control": [{{"classType": "llm", "from": "{context.component}"}}]'
            raise bad_setting(context.component, "llm", why, f"Add {control} to a model.")
        owner = f"name {self.config.name}" if self.config.name else f"run {context.run_id} {context.component}"
        key = await _key(context, (owner, request))
        kept = self.resource.get(key) if key is not None else None
        if kept is not None:
            for event in kept:
                yield event
            return
        model: LlmClient = context.llm
        draft = Draft(self.resource, MAX_VALUES)
        stream = model.stream(request.messages, tools=request.tools, schema=request.schema, sampling=request.sampling)
        async with aclosing(stream):
            async for event in stream:
                if key is not None and not isinstance(event, Usage):
                    draft.add(event, memory_of(event))
                yield event
        if key is not None and draft.values and isinstance(draft.values[-1], ChatFinish):
            draft.keep(key, _joined(draft.values))

    async def gen_process(self, context: Context) -> AsyncGenerator[tuple[str, Any], None]:
        """The kept outputs for an equal item; else those of a run of the pipeline, as they come."""
        target = await in_thread(pipeline_of, context.component, self.config)
        async with mesh_of(context) as mesh:
            target, content = await self._content(context, mesh, target)
        key = await _key(context, (context.session, content, self.item)) if content else None
        kept = self.resource.get(key) if key is not None else None
        if kept is not None:
            for port, value in kept:
                if port in context.connected_outputs:
                    yield port, value
            return
        draft = Draft(self.resource, MAX_VALUES)
        async with mesh_of(context) as mesh:
            run = mesh.run(
                target,
                input=self.item,
                settings=self.config.settings or None,
                source=self.config.source,
                timeout=context.time_left,
                session=context.session,
            )
            async with pipeline_failed(self.config, run), run:
                async for update in run.updates():
                    if isinstance(update, OutputUpdate):
                        if key is not None:
                            draft.add((update.lane, update.value), memory_of(update.value))
                        if update.lane in context.connected_outputs:
                            yield update.lane, update.value
                    else:
                        await pass_on(update, context, run.id)
                run.raise_unless_completed()
        if key is not None:
            draft.keep(key)
        if draft.is_too_large:
            context.log.warning("a result of %s is too large to be kept", pipeline_name(self.config))

    async def _content(self, context: Context, mesh: Deployments, target: Any) -> tuple[Any, list[str]]:
        """The pipeline with its version, and texts that change with its content. No texts, and a warning, if it is unknown: the
        cache never fails."""
        try:
            return await content_of(mesh, target)
        except (LanemeshError, OSError, ValueError) as error:
            context.log.warning("%s is not looked up in the cache: %s", pipeline_name(self.config), error)
            return target, []


async def _key(context: Context, asked: Any) -> bytes | None:
    """The hash of what is asked. None, and a warning, if it has none: the cache never fails."""
    try:
        return await in_thread(content_hash, asked)
    except Exception as error:
        context.log.warning("it is not looked up in the cache: %s: %s", type(error).__name__, error)
        return None


def _joined(events: list[ChatEvent]) -> list[ChatEvent]:
    """The same events, with texts that follow each other as one."""
    joined: list[ChatEvent] = []
    for event in events:
        if isinstance(event, ChatText) and joined and isinstance(joined[-1], ChatText):
            joined[-1] = ChatText(joined[-1].text + event.text)
        else:
            joined.append(event)
    return joined
