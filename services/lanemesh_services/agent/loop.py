"""The loop of an agent over one question: turns of the model and waves of calls, until it has the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from lanemesh import (
    Answer,
    ChatFinish,
    ChatText,
    Context,
    LanemeshError,
    Question,
    ToolCall,
    ToolProgress,
    ToolResult,
    ToolSpec,
    Usage,
)

from lanemesh_services.agent import built_in
from lanemesh_services.agent.answer_gate import AnswerGate
from lanemesh_services.agent.budget import Spending
from lanemesh_services.agent.calls import AgentCalls
from lanemesh_services.agent.config import AgentConfig
from lanemesh_services.agent.conversation import Conversation
from lanemesh_services.agent.errors import not_followed
from lanemesh_services.agent.references import ReferenceStream
from lanemesh_services.agent.result_store import ResultStore
from lanemesh_services.agent.structured import problem_in, problems_of, repair_request
from lanemesh_services.agent.toolbox import Toolbox
from lanemesh_services.agent.turns import ModelTurns, Thought, TurnEvent, Unreadable, WholeText
from lanemesh_services.llm.schemas import answer_data

Step = str | ToolCall | ToolProgress | ToolResult
"""A thought, a call, or an event of a call."""
ReportStep = Callable[[Step, int], Awaitable[None]]
"""Reports a step and its wave."""
KeepResult = Callable[[str, str], Awaitable[None]]
"""Keeps a result, JSON text, under its key outside of the agent, such as in a connected memory."""


class AgentLoop:
    """The work on one question."""

    def __init__(
        self,
        config: AgentConfig,
        context: Context,
        question: Question,
        toolbox: Toolbox,
        report: ReportStep,
        *,
        max_waves: int = 0,
        keep: KeepResult | None = None,
    ) -> None:
        """Creates the loop of a question.

        Args:
            config: the settings of the agent.
            context: of the agent's component.
            question: what is asked.
            toolbox: what the agent may call.
            report: reports steps as they happen.
            max_waves: most waves, if that is less than in the settings; 0: as there.
            keep: keeps results; None: only the loop does.
        """
        self.wave = 0
        """The present wave, from 1."""
        self._config = config
        self._context = context
        self._structured = question.schema is not None
        self._toolbox = toolbox
        self._tell = report
        self._keep = keep
        self._max_waves = min(max_waves or config.max_waves, config.max_waves)
        self._store = ResultStore()
        self._spending = Spending(config.budget)
        self._conversation = Conversation(
            question,
            config.instructions,
            store=self._store,
            max_result=config.max_result,
            result_images=config.result_images,
            context_tokens=config.context_tokens,
        )
        self._turns = ModelTurns(config, context)
        self._calls = AgentCalls(config, context, toolbox, self._store, self._spending, self._report)
        self._keys: dict[str, str] = {}
        """The keys of results by the ids of their calls."""
        self._references = ReferenceStream(self._store)
        self._said = ""
        self._paragraph = False
        self._finish_reason = "stop"
        self._called: list[ToolCall] = []
        self._unreadable = ""
        self._repairs = 1
        """Waves of invalid calls that do not count."""
        self._empty_turns = 0

    @property
    def usage(self) -> Usage:
        """What it has used so far, with its sub-agents."""
        return self._spending.usage

    async def answer(self) -> AsyncGenerator[str | Answer, None]:
        """The pieces of the answer's text, then its end. Raises LanemeshError with the fault of the model."""
        try:
            async with aclosing(self._waves()) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            await self._calls.close()

    async def _waves(self) -> AsyncGenerator[str | Answer, None]:
        stopped = ""
        while True:
            self.wave += 1
            await self._add_arrived()
            stopped = self._stopped()
            if stopped:
                await self._report_stopped(stopped)
            offered = () if stopped or not self._toolbox.specs else self._offered()
            if self._structured and not offered:
                yield await self._structured_answer()
                break
            async with aclosing(self._turn(offered)) as pieces:
                async for piece in pieces:
                    yield piece
            if not offered:
                break
            if not await self._go_on():
                break
        if stopped and not self._structured:
            self._paragraph = bool(self._said)
            for piece in await self._written(f"[Stopped after {stopped}.]"):
                yield piece
        yield self._last(stopped)

    async def _structured_answer(self) -> str:
        """The answer of a turn without tools, whole, because it may be repaired: if it does not follow its schema, by one more
        turn. Raises LanemeshError ("schema-not-followed") if that does not either."""
        problems = await self._structured_turn()
        if problems:
            await self._think(f"The answer does not follow its schema: {problems}")
            self._conversation.add_request(repair_request(problems))
            problems = await self._structured_turn()
        if problems:
            raise not_followed(self._context.component, problems)
        return self._said

    async def _structured_turn(self) -> str:
        """Runs a turn without tools. Returns why its answer does not follow its schema; empty if it does, or was cut off."""
        self._said = ""
        try:
            async with aclosing(self._turn(())) as pieces:
                async for _ in pieces:
                    pass
        except LanemeshError as error:
            problem = problem_in(error)
            if not problem:
                raise
            self._conversation.add_turn(self._said, ())
            return problem
        schema = self._conversation.schema
        return "" if schema is None or self._finish_reason == "length" else problems_of(self._said, schema)

    async def _go_on(self) -> bool:
        """Does what follows a turn with tools. Returns whether there is another turn."""
        if self._unreadable:
            return self._ask_again()
        if self._called:
            await self._make_calls()
            return True
        if self._calls.running or self._calls.arrived:
            await self._calls.wait_for_result()
            return True
        if self._structured:
            self._toolbox = (
                self._toolbox.without()
            )  # one more turn, which can follow the schema because it has no tools
            self._conversation.add_request("Give the answer now, in the requested form.")
            return True
        if not self._said and not self._empty_turns:
            self._empty_turns += 1
            self._conversation.add_request("You returned nothing. Give the answer, or call a tool.")
            return True
        return False

    def _ask_again(self) -> bool:
        problem, self._unreadable = self._unreadable, ""
        self._conversation.add_request(
            f"Your turn could not be read: {problem}. Answer with one JSON object as described."
        )
        self._repair()
        return True

    async def _make_calls(self) -> None:
        for number, call in enumerate(self._called, 1):
            self._keys[call.id] = f"wave-{self.wave}.r{number}"
        outcome = await self._calls.wave(self._called)
        for result in outcome.results:
            await self._add_result(result)
        if outcome.invalid and outcome.invalid == len(self._called):
            self._repair()

    def _repair(self) -> None:
        """A wave that consists of mistakes does not count, once."""
        if self._repairs:
            self._repairs -= 1
            self._max_waves += 1

    async def _add_result(self, result: ToolResult) -> None:
        built_in_tool = result.name in (self._calls.peek, self._calls.cancel)
        key = "" if built_in_tool or self._is_running(result) else self._keys.get(result.call_id, "")
        await self._keep_result(key, result)
        self._conversation.add_result(result, key)

    async def _add_arrived(self) -> None:
        for result in self._calls.take_arrived():
            key = self._keys.get(result.call_id, "")
            await self._keep_result(key, result)
            self._conversation.add_late_result(result, key)

    async def _keep_result(self, key: str, result: ToolResult) -> None:
        if not key:
            return
        self._store.add(key, result.content)
        if self._keep is not None and not result.is_error:
            await self._keep(key, result.content)

    def _is_running(self, result: ToolResult) -> bool:
        """The result only reports that the call runs in the background."""
        return result.seconds is None

    def _offered(self) -> Sequence[ToolSpec]:
        """The tools for the next turn."""
        offered = list(self._toolbox.specs)
        if self._conversation.has_summaries:
            offered.append(built_in.peek_spec(self._calls.peek))
        if self._config.schedules:
            offered.append(built_in.cancel_spec(self._calls.cancel))
        return offered

    def _stopped(self) -> str:
        """Why the agent must answer now, as a phrase after "Stopped after"; empty if it may go on."""
        if not self._toolbox.specs:
            return ""
        if self.wave > self._max_waves:
            most = self._max_waves
            return f"{most} wave{'' if most == 1 else 's'} of tool calls, the limit of max_waves"
        if exhausted := self._spending.exhausted():
            return f"its {exhausted} was used up"
        if self._calls.repeats.stuck:
            return f"the same calls again and again, the limit of max_repeats is {self._config.max_repeats}"
        return ""

    async def _turn(self, offered: Sequence[ToolSpec]) -> AsyncGenerator[str, None]:
        """Runs one turn of the model: yields text of the answer, reports thoughts and calls."""
        gate = AnswerGate(self._holdback(offered))
        self._called = []
        self._finish_reason = "stop"
        whole = None
        async with aclosing(self._events(offered)) as events:
            async for event in events:
                match event:
                    case ChatText():
                        for piece in await self._written(gate.push(event.text)):
                            yield piece
                    case Thought():
                        await self._think(event.text)
                    case ToolCall() if offered:
                        await self._think(gate.tool_call())
                        await self._take_call(event)
                    case ToolCall():
                        self._context.log.warning("the model calls %s, which is not one of its tools", event.name)
                    case Usage():
                        self._spending.count(event)
                        self._conversation.measure(event.prompt_tokens)
                    case Unreadable():
                        self._unreadable = event.problem
                    case WholeText():
                        whole = event.text
                    case ChatFinish():
                        self._finish_reason = event.reason
        rest, thought = gate.finish()
        for piece in await self._written(rest):
            yield piece
        if not self._called and (rest := await self._references.finish()):
            self._said += rest
            yield rest
        await self._think(thought)
        self._conversation.add_turn(gate.text if whole is None else whole, () if whole is not None else self._called)
        self._paragraph = self._paragraph or (bool(self._called) and gate.answered)

    async def _events(self, offered: Sequence[ToolSpec]) -> AsyncGenerator[TurnEvent, None]:
        """The events of a turn. A call with the schedule interrupt that ends meanwhile breaks it off."""
        async with aclosing(self._turns.stream(self._conversation, offered)) as events:
            while True:
                if not offered or (not self._calls.running and not self._calls.interrupted.is_set()):
                    event = await anext(events, None)
                else:
                    event = await self._unless_interrupted(events)
                if event is None:
                    return
                yield event

    async def _unless_interrupted(self, events: AsyncGenerator[TurnEvent, None]) -> TurnEvent | None:
        upcoming = asyncio.ensure_future(anext(events, None))
        interrupted = asyncio.ensure_future(self._calls.interrupted.wait())
        try:
            await asyncio.wait([upcoming, interrupted], return_when=asyncio.FIRST_COMPLETED)
            if upcoming.done():
                return await upcoming
            await self._think("interrupted by the result of a call")
            return None
        finally:
            interrupted.cancel()
            upcoming.cancel()
            await asyncio.gather(upcoming, interrupted, return_exceptions=True)

    def _holdback(self, offered: Sequence[ToolSpec]) -> int | None:
        """Characters that are held back in case they are a thought; None: no text of the turn is the answer."""
        if not offered:
            return 0
        if self._structured or self._calls.running:
            return None
        return self._config.holdback

    async def _take_call(self, call: ToolCall) -> None:
        known = self._conversation.identified(call, self.wave)
        self._called.append(known)
        await self._report(known)
        self._calls.note_reported(known)

    async def _written(self, text: str) -> list[str]:
        if not text:
            return []
        if self._paragraph:  # text of an earlier turn was sent before a call: the next text is a new paragraph
            text, self._paragraph = "\n\n" + text, False
        if not self._structured:  # in JSON, an inserted text would break the answer
            text = await self._references.push(text)
        self._said += text
        return [text] if text else []

    async def _think(self, thought: str) -> None:
        if thought:
            await self._report(thought)

    async def _report(self, step: Step) -> None:
        await self._tell(step, self.wave)

    async def _report_stopped(self, why: str) -> None:
        self._context.log.warning("the agent must answer now: %s", why)
        name = "max_waves reached" if "max_waves" in why else "stopped"
        await self._think(f"{name}: after {why}. I must answer now, without tools.")
        if "max_waves" in why:
            most = self._max_waves
            why = f"You have used all {most} waves of tool calls."
        else:
            why = f"You must stop after {why}."
        self._conversation.add_request(f"{why} Answer the question now from what you know, without tools.")

    def _last(self, stopped: str) -> Answer:
        reason = "length" if stopped or self._finish_reason == "length" else "stop"
        data = None
        if self._conversation.schema is not None and self._finish_reason != "length":
            data, problem = answer_data(self._said, self._conversation.schema)
            if problem:
                self._context.log.warning("the answer has only text and no data: %s", problem)
        return Answer(data=data, finish_reason=reason, usage=self.usage)
