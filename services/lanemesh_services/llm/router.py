"""A model that is the first healthy one of several: by order, latency or price, the same one for a session."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from lanemesh import (
    ChatEvent,
    ChatFinish,
    ChatRequest,
    ChatText,
    Code,
    Context,
    Fault,
    Invokes,
    LanemeshError,
    LlmClient,
    ToolCall,
    Usage,
)
from pydantic import BaseModel, Field

from lanemesh_services.llm.nodes import LanguageModel

MAX_GROUPS = 256
"""Most groups of models whose health is remembered, the ones used last."""
MAX_SESSIONS = 10_000
"""Most sessions of a group that keep their model, the ones used last."""
_REFUSED = (Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED)
"""The codes of a model that does not support a request."""
_WEIGHT = 0.3
"""Weight of the newest measurement in an average."""


@dataclass(slots=True)
class Health:
    """What is known of one model."""

    failures: int = 0
    """Failures in a row."""
    rests_until: float = 0.0
    """Before this time it is used only if every other model has failed."""
    latency: float = 0.0
    """Average seconds to the first piece of an answer; 0: not measured yet."""
    price: float = 0.0
    """Average price of a million tokens in US dollars; 0: unknown."""

    def succeeded(self, latency: float) -> None:
        """Adds a first piece that came after so many seconds."""
        self.failures, self.rests_until = 0, 0.0
        self.latency = _average(self.latency, latency)

    def failed(self, now: float, first: float, most: float) -> None:
        """Adds a failure: it rests for `first` seconds, twice as long after each further one, at most `most`."""
        self.failures += 1
        self.rests_until = now + min(most, first * 2.0 ** min(self.failures - 1, 32))

    def paid(self, usage: Usage) -> None:
        """Adds the price of an answer."""
        tokens = usage.prompt_tokens + usage.completion_tokens
        if usage.cost is not None and tokens:
            self.price = _average(self.price, usage.cost / tokens * 1e6)


def _average(before: float, new: float) -> float:
    return before + _WEIGHT * (new - before) if before else new


@dataclass(slots=True)
class Group:
    """The models of one router."""

    models: list[Health]
    """Their health, in the order of the pipeline."""
    chosen: OrderedDict[str, int] = field(default_factory=OrderedDict)
    """The model of each session."""

    def order(self, by: str, session: str, now: float) -> list[int]:
        """The models in the order in which they are tried: those that rest come last, the one whose rest ends first before the
        others. The model of the session precedes the others that do not rest."""
        sticky = self.chosen.get(session)

        def rank(index: int) -> tuple[Any, ...]:
            health = self.models[index]
            measured = {"latency": health.latency, "cost": health.price}.get(by, 0.0)
            rest = health.rests_until if health.rests_until > now else 0.0
            return rest, index != sticky, measured, index

        return sorted(range(len(self.models)), key=rank)

    def keep(self, session: str, index: int) -> None:
        """The session has this model from now on."""
        self.chosen[session] = index
        self.chosen.move_to_end(session)
        while len(self.chosen) > MAX_SESSIONS:
            self.chosen.popitem(last=False)


class Groups:
    """The health of models, shared by the runs of a node server."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._groups: OrderedDict[Hashable, Group] = OrderedDict()

    def of(self, key: Hashable, size: int) -> Group:
        """The group of a key with so many models."""
        group = self._groups.setdefault(key, Group([Health() for _ in range(size)]))
        self._groups.move_to_end(key)
        while len(self._groups) > MAX_GROUPS:
            self._groups.popitem(last=False)
        return group


class LlmRouter(LanguageModel):
    """The first healthy one of several models. One that fails before the first piece of its answer is replaced by the next."""

    invokes: ClassVar = (Invokes("llm", 1, None),)

    class Config(BaseModel):
        """Settings of a component."""

        by: Literal["order", "latency", "cost"] = Field(
            "order",
            description='"order": that of the pipeline; "latency": the fastest first piece; "cost": the lowest price. '
            "A model that is not measured yet counts as the best one.",
        )
        sticky: Literal["session", "run", "none"] = Field(
            "session", description="What keeps its model while it is healthy; a run without a session keeps its own."
        )
        timeout: float = Field(60.0, gt=0, le=3600, description="Seconds to the first piece of an answer.")
        rest: float = Field(1.0, gt=0, le=3600, description="Seconds for which a model that failed is not used.")
        max_rest: float = Field(
            60.0, gt=0, le=86400, description="Maximum of these seconds, which double with each failure in a row."
        )

    @classmethod
    async def load(cls, config: Any) -> Any:
        """The health of the models, which outlives runs."""
        return Groups()

    @classmethod
    async def unload(cls, resource: Any) -> None:
        """Nothing is freed."""

    async def chat(self, context: Context, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Generates one turn with the first model that answers.

        Raises:
            LanemeshError: "no-model-answered": every model failed before the first piece; of a single model, its own error. After
                the first piece, the error of the model.
        """
        config, models, groups = self.config, context.llms, self.resource
        group = groups.of((context.component, models.names), len(models))
        session = _session(context, config.sticky)
        failures: list[LanemeshError] = []
        for index in group.order(config.by, session, groups.clock()):
            attempt = _Attempt(groups, group.models[index], config)
            try:
                async with aclosing(attempt.events(models[index], request)) as events:
                    async for event in events:
                        if attempt.begun and session and group.chosen.get(session) != index:
                            group.keep(session, index)
                        yield event
                return
            except LanemeshError as failure:
                if attempt.begun:
                    raise
                failures.append(failure)
                name = models.names[index] or f"{index + 1}"
                context.log.warning("the model %s did not answer: %s", name, failure)
        raise failures[0] if len(failures) == 1 else _none_answered(failures)


class _Attempt:
    """One turn of one model."""

    def __init__(self, groups: Groups, health: Health, config: Any) -> None:
        self._groups = groups
        self._health = health
        self._config = config
        self.begun = False
        """A piece of the answer was passed on."""

    async def events(self, model: LlmClient, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """The events of the turn. Each failure is counted, except that the model does not support the request."""
        started_at = self._groups.clock()
        stream = model.stream(request.messages, tools=request.tools, schema=request.schema, sampling=request.sampling)
        try:
            async with aclosing(stream):
                while (event := await self._next(stream)) is not None:
                    if not self.begun and isinstance(event, ChatText | ToolCall | ChatFinish):
                        self.begun = True
                        self._health.succeeded(self._groups.clock() - started_at)
                    elif isinstance(event, Usage):
                        self._health.paid(event)
                    yield event
        except LanemeshError as failure:
            if failure.fault.code not in (Code.INVALID_ARGUMENT, Code.CANCELLED):
                self._health.failed(self._groups.clock(), self._config.rest, self._config.max_rest)
            raise

    async def _next(self, stream: AsyncGenerator[ChatEvent, None]) -> ChatEvent | None:
        try:
            async with asyncio.timeout(None if self.begun else self._config.timeout):
                return await anext(stream, None)
        except TimeoutError:
            raise _too_slow(self._config.timeout) from None


def _session(context: Context, sticky: str) -> str:
    """What keeps its model; empty: nothing does."""
    if sticky == "none":
        return ""
    return (context.session if sticky == "session" else "") or context.run_id


def _too_slow(seconds: float) -> LanemeshError:
    message = f"The model sent no piece of an answer within {seconds:g} s (timeout of the router)."
    return LanemeshError(Fault(code=Code.DEADLINE_EXCEEDED, reason="model-server-silent", message=message))


def _none_answered(failures: list[LanemeshError]) -> LanemeshError:
    """The error of all models. It has the field of the request for which each model rejects it that rejects it."""
    reports = "; ".join(f"{number}: {str(failure)[:300]}" for number, failure in enumerate(failures[:8], 1))
    message = f"None of {len(failures)} models answered. {reports}"
    waits = [failure.retry_after for failure in failures if failure.retry_after is not None]
    codes = {failure.fault.code for failure in failures}
    code = codes.pop() if len(codes) == 1 else Code.UNAVAILABLE
    fields = {failure.fault.details.get("field", "") for failure in failures if failure.fault.code in _REFUSED}
    details = {"field": fields.pop()} if len(fields) == 1 and all(fields) else {}
    retry_after = min(waits, default=None)
    return LanemeshError(
        Fault(code=code, reason="no-model-answered", message=message, details=details, retry_after=retry_after)
    )
