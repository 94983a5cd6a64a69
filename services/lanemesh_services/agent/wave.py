"""An agent that works in waves: the model thinks and calls tools, the tools answer, until the model answers without a call."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated, Any, ClassVar

from lanemesh import (
    AgentEvent,
    AgentRequest,
    AgentThought,
    Answer,
    Context,
    In,
    Invokes,
    LanemeshError,
    Message,
    Node,
    Out,
    Pieces,
    Question,
    ToolCall,
    ToolProgress,
    ToolResult,
    ToolSpec,
    Usage,
)
from lanemesh.extend import read_json, to_json

from lanemesh_services.agent.config import AgentConfig
from lanemesh_services.agent.loop import AgentLoop, KeepResult, ReportStep, Step
from lanemesh_services.agent.toolbox import TASK_PARAMETERS, Toolbox
from lanemesh_services.agent.unmatched import check_patterns
from lanemesh_services.guests.errors import refuse_tools

Pair = tuple[str, Any]
MAX_STEPS = 64
"""Most steps of an agent that wait for its caller."""


class AgentWave(Node):
    """An agent that answers questions with a model and tools.

    In each wave the model may think and call tools; all calls of a wave run at the same time. A turn without calls is the answer.
    Thoughts, calls, progress and results are reported as they happen; the answer streams. It may be a helper of other agents: as
    an agent, or as a tool with the name of its component.
    """

    aliases = ("agent_rocketride",)
    invokes: ClassVar = (
        Invokes("llm", 1, 1),
        Invokes("tool", 0, None),
        Invokes("agent", 0, None),
        Invokes("memory", 0, 1),
    )
    offers: ClassVar = ("agent", "tool")
    fixed_tools: ClassVar = True

    class Config(AgentConfig):
        """Settings of an agent."""

    questions: Annotated[In[Question], "What is asked."]
    answers: Annotated[
        Out[Answer], "The pieces of the answer, as they are generated; the last one has finish reason and usage."
    ]
    text: Annotated[Out[Pieces[str]], "Only the text of the answer, in pieces as they are generated."]

    async def gen_process(self, context: Context) -> AsyncGenerator[Pair, None]:
        """Answers one question."""
        refuse_tools(self.questions, context.component)
        loop = await self._loop(context, self.questions, _reporting(context))
        async with aclosing(loop.answer()) as pieces:
            async for piece in pieces:
                if isinstance(piece, Answer):
                    yield "answers", piece
                else:
                    yield "text", piece
                    yield "answers", Answer(text=piece)

    async def run_agent(self, context: Context, request: AgentRequest) -> AsyncGenerator[AgentEvent, None]:
        """Answers a task of another node."""
        question = _question(request)
        steps: asyncio.Queue[AgentEvent | None] = asyncio.Queue(MAX_STEPS)
        reported = _reporting(context)

        async def report(step: Step, wave: int) -> None:
            await reported(step, wave)
            event = AgentThought(step) if isinstance(step, str) else step
            await steps.put(AgentEvent(event, max(1, wave), loop.usage))

        loop = await self._loop(context, question, report, max_waves=request.max_waves)
        work = asyncio.create_task(_queue(loop, steps), name=f"{context.component} task")
        try:
            while (event := await steps.get()) is not None:
                yield event
            await work
        finally:
            work.cancel()
            reading = asyncio.create_task(_discard(steps), name=f"{context.component} rest")
            try:
                with suppress(asyncio.CancelledError, Exception):
                    await work
            finally:
                reading.cancel()

    async def list_tools(self, context: Context) -> list[ToolSpec]:
        """The agent as one tool, with the name of its component."""
        return [ToolSpec(context.component, self.config.description or "Answers a task.", TASK_PARAMETERS)]

    async def call_tool(self, context: Context, call: ToolCall) -> AsyncGenerator[ToolProgress | ToolResult, None]:
        """Answers a task that a model gives to the agent as a tool."""
        try:
            task = str(json.loads(call.arguments or "{}")["task"])
        except (ValueError, KeyError, TypeError, RecursionError):
            yield ToolResult('{"error": "the arguments must be {\\"task\\": \\"...\\"}"}', is_error=True)
            return
        texts: list[str] = []
        wave, usage = 0, Usage(0, 0)
        async with aclosing(self.run_agent(context, AgentRequest((Message("user", task),)))) as events:
            async for event in events:
                before, wave, usage = (wave, usage), event.wave, event.usage or usage
                if isinstance(event.step, Answer):
                    texts.append(event.step.text)
                elif before != (wave, usage):
                    yield ToolProgress(f"wave {wave}", usage=usage)
        yield ToolResult(to_json("".join(texts)), usage=usage)

    async def _loop(self, context: Context, question: Question, report: ReportStep, *, max_waves: int = 0) -> AgentLoop:
        toolbox = await Toolbox.of(context)
        check_patterns(self.config, context, toolbox)
        return AgentLoop(self.config, context, question, toolbox, report, max_waves=max_waves, keep=_keeping(context))


async def _queue(loop: AgentLoop, steps: asyncio.Queue[AgentEvent | None]) -> None:
    """Queues the pieces of the answer among the other steps, then None. Only the caller cancels it, and reads no further then."""
    try:
        async with aclosing(loop.answer()) as pieces:
            async for piece in pieces:
                answer = Answer(text=piece) if isinstance(piece, str) else piece
                await steps.put(AgentEvent(answer, max(1, loop.wave), loop.usage))
    except Exception:
        await steps.put(None)
        raise
    await steps.put(None)


def _question(request: AgentRequest) -> Question:
    *history, last = request.messages
    return Question(last.content, request.instructions, tuple(history), schema=request.schema)


def _reporting(context: Context) -> ReportStep:
    async def report(step: Step, wave: int) -> None:
        await context.report_tool(step, wave=wave)

    return report


async def _discard(steps: asyncio.Queue[AgentEvent | None]) -> None:
    """Takes the steps of an agent whose caller has left, so that none of its tasks waits to report one."""
    while True:
        await steps.get()


def _keeping(context: Context) -> KeepResult | None:
    """Keeps results in the connected memory, if there is one. A failure is logged once."""
    if not len(context.memories):
        return None
    memory = context.memory.space("run", namespace=context.component)
    prefix = secrets.token_hex(4)  # several questions of a run share the space
    failed = False

    async def keep(key: str, content: str) -> None:
        nonlocal failed
        try:
            await memory.put(f"{prefix}/{key}", read_json(content))
        except (LanemeshError, ValueError, TypeError) as error:
            if not failed:
                failed = True
                context.log.warning("results are not kept in the memory: %s", error)

    return keep
