"""An agent that works in waves: the model thinks and calls tools, the tools answer, until the model answers without a call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated, Any, ClassVar

from lanemesh import (
    Answer,
    ChatFinish,
    ChatText,
    Context,
    In,
    Invokes,
    Node,
    Out,
    Pieces,
    Question,
    ToolCall,
    ToolClient,
    ToolProgress,
    ToolResult,
    ToolSpec,
    Usage,
)
from pydantic import BaseModel, Field

from lanemesh_services.agent.answer_gate import AnswerGate
from lanemesh_services.agent.calls import CallLimits, call_tools
from lanemesh_services.agent.conversation import Conversation
from lanemesh_services.instructions import Instructions
from lanemesh_services.llm.schemas import answer_data

Pair = tuple[str, Any]


class AgentWave(Node):
    """An agent that answers questions with a model and tools.

    In each wave the model may think and call tools; all calls of a wave run at the same time. A turn without calls is the answer.
    Thoughts, calls, progress and results are reported as they happen; the answer streams.
    """

    aliases = ("agent_rocketride",)
    invokes: ClassVar = (Invokes("llm", 1, 1), Invokes("tool", 0, None))

    class Config(BaseModel):
        """Settings of an agent."""

        instructions: Instructions = Field(
            "", description="Instructions for the agent; they precede those of the question."
        )
        max_waves: int = Field(
            8, ge=1, le=100, description="Maximum number of waves of tool calls; then the agent must answer."
        )
        tool_timeout: float = Field(60.0, gt=0, le=3600, description="Time limit of one tool call, in seconds.")
        max_calls: int = Field(16, ge=1, le=256, description="Maximum number of tool calls of one wave.")
        max_result: int = Field(
            20_000, ge=100, le=1_000_000, description="Maximum length of a tool's result, in characters."
        )
        holdback: int = Field(
            80,
            ge=1,
            le=100_000,
            description="Characters of a turn that are held back in case they are a thought; more text is the answer.",
        )

    questions: Annotated[In[Question], "What is asked."]
    answers: Annotated[
        Out[Answer], "The pieces of the answer, as they are generated; the last one has finish reason and usage."
    ]
    text: Annotated[Out[Pieces[str]], "Only the text of the answer, in pieces as they are generated."]

    async def gen_process(self, context: Context) -> AsyncGenerator[Pair, None]:
        """Answers one question."""
        tools = context.tools  # it can do without: then there are none
        work = _Work(self.config, context, self.questions, tools, await tools.specs())
        async with aclosing(work.answer()) as pairs:
            async for pair in pairs:
                yield pair


class _Work:
    """The processing of one question."""

    def __init__(
        self,
        config: Any,
        context: Context,
        question: Question,
        tools: ToolClient,
        specs: Sequence[ToolSpec],
    ) -> None:
        self._config = config
        self._context = context
        self._structured = question.schema is not None
        self._tools = tools
        self._specs = specs
        self._conversation = Conversation(question, config.instructions)
        self._limits = CallLimits(
            timeout_seconds=config.tool_timeout,
            max_calls=config.max_calls,
            max_result_characters=config.max_result,
        )
        self._wave = 0
        self._said = ""
        self._calls: list[ToolCall] = []
        self._finish_reason = ""
        self._paragraph = False

    async def answer(self) -> AsyncGenerator[Pair, None]:
        """Runs all waves, then ends the answer."""
        exhausted = False
        while True:
            self._wave += 1
            exhausted = bool(self._specs) and self._wave > self._config.max_waves
            if exhausted:
                await self._report_exhausted()
            offered: Sequence[ToolSpec] = () if exhausted else self._specs
            async with aclosing(self._turn(offered)) as pairs:
                async for pair in pairs:
                    yield pair
            if not offered:
                break
            if self._calls:
                results = await call_tools(self._tools, self._calls, self._limits, self._report)
                self._conversation.add_results(results)
            elif self._structured:
                self._specs = ()  # one more turn, which can follow the schema because it has no tools
                self._conversation.add_request("Give the answer now, in the requested form.")
            else:
                break
        if exhausted and not self._structured:
            note = f"[Stopped after {self._config.max_waves} waves of tool calls, the limit of max_waves.]"
            self._paragraph = bool(self._said)
            for pair in self._emit_text(note):
                yield pair
        yield "answers", self._last(exhausted)

    async def _turn(self, offered: Sequence[ToolSpec]) -> AsyncGenerator[Pair, None]:
        """Runs one turn of the model: sends text as the answer, reports thoughts and calls."""
        holdback = 0 if not offered else None if self._structured else self._config.holdback
        gate = AnswerGate(holdback)
        self._calls = []
        self._finish_reason = "stop"
        request = self._conversation.request(offered)
        turn = self._context.llm.stream(request.messages, tools=request.tools, schema=request.schema)
        async with aclosing(turn) as events:
            async for event in events:
                match event:
                    case ChatText():
                        for pair in self._emit_text(gate.push(event.text)):
                            yield pair
                    case ToolCall() if offered:
                        await self._think(gate.tool_call())
                        call = self._conversation.identified(event, self._wave)
                        self._calls.append(call)
                        await self._report(call)
                    case ToolCall():
                        self._context.log.warning("the model calls %s, which is not one of its tools", event.name)
                    case Usage():
                        self._conversation.count(event)
                    case ChatFinish():
                        self._finish_reason = event.reason
        rest, thought = gate.finish()
        for pair in self._emit_text(rest):
            yield pair
        await self._think(thought)
        self._conversation.add_turn(gate.text, self._calls)
        self._paragraph = self._paragraph or (bool(self._calls) and gate.answered)

    def _emit_text(self, text: str) -> list[Pair]:
        if not text:
            return []
        if self._paragraph:  # text of an earlier turn was sent before a call: the next text is a new paragraph
            text, self._paragraph = "\n\n" + text, False
        self._said += text
        return [("text", text), ("answers", Answer(text=text))]

    async def _think(self, thought: str) -> None:
        if thought:
            await self._report(thought)

    async def _report(self, event: str | ToolCall | ToolProgress | ToolResult) -> None:
        await self._context.report_tool(event, wave=self._wave)

    async def _report_exhausted(self) -> None:
        most = self._config.max_waves
        self._context.log.warning("max_waves reached: %d waves of tool calls without an answer", most)
        await self._think(f"max_waves reached: {most} waves of tool calls. I must answer now, without tools.")
        self._conversation.add_request(
            f"You have used all {most} waves of tool calls. Answer the question now from what you know, without tools."
        )

    def _last(self, exhausted: bool) -> Answer:
        reason = "length" if exhausted or self._finish_reason == "length" else "stop"
        data = None
        if self._conversation.schema is not None and self._finish_reason != "length":
            data, problem = answer_data(self._said, self._conversation.schema)
            if problem:
                self._context.log.warning("the answer has only text and no data: %s", problem)
        return Answer(data=data, finish_reason=reason, usage=self._conversation.usage)
