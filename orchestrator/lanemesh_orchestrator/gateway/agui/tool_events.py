"""What agents do as events of AG-UI: thoughts, calls of tools, results, and a step per wave. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ag_ui.core import (
    BaseEvent,
    CustomEvent,
    ReasoningEndEvent,
    ReasoningMessageContentEvent,
    ReasoningMessageEndEvent,
    ReasoningMessageStartEvent,
    ReasoningStartEvent,
    StepFinishedEvent,
    StepStartedEvent,
    ToolCallArgsEvent,
    ToolCallEndEvent,
    ToolCallResultEvent,
    ToolCallStartEvent,
)
from lanemesh.client.updates import (
    ThoughtUpdate,
    ToolCallUpdate,
    ToolProgressUpdate,
    ToolResultUpdate,
    ToolUpdate,
)

MAX_CALLS = 10_000
"""Most calls without a result whose ids are kept; the oldest are forgotten."""


class ToolEvents:
    """The agents of one run. Their calls get ids that are unique in a conversation of many runs."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._waves: dict[str, int] = {}
        """The present wave of each agent."""
        self._calls: dict[tuple[str, str], str] = {}
        """The ids of calls without a result, by component and id of the update."""

    def read(self, update: ToolUpdate) -> Iterator[BaseEvent]:
        """The events of an action of an agent."""
        yield from self._wave(update)
        match update:
            case ThoughtUpdate():
                yield from self._thought(update)
            case ToolCallUpdate():
                yield from self._call(update)
            case ToolResultUpdate():
                yield from self._result(update)
            case ToolProgressUpdate():
                call = self._calls.get((update.component, update.call_id))
                value = {"toolCallId": call, "message": update.message, "fraction": update.fraction}
                yield CustomEvent(name="lanemesh.tool_progress", value=value)

    def call_of(self, component: str, call_id: str) -> str | None:
        """The id of a call without a result; None if there is none."""
        return self._calls.get((component, call_id))

    def end_wave(self, component: str) -> Iterator[BaseEvent]:
        """Ends the step of an agent."""
        wave = self._waves.pop(component, None)
        if wave is not None:
            yield StepFinishedEvent(step_name=_step(component, wave))

    def pause(self) -> Iterator[BaseEvent]:
        """Ends the steps for now."""
        for component, wave in self._waves.items():
            yield StepFinishedEvent(step_name=_step(component, wave))

    def resume(self) -> Iterator[BaseEvent]:
        """Begins the steps again."""
        for component, wave in self._waves.items():
            yield StepStartedEvent(step_name=_step(component, wave))

    def _wave(self, update: ToolUpdate) -> Iterator[BaseEvent]:
        present = self._waves.get(update.component, 0)
        begins = isinstance(update, ThoughtUpdate | ToolCallUpdate)
        if update.wave == present or (update.wave < present and not begins):
            return  # a result of an earlier wave begins no step
        yield from self.end_wave(update.component)
        self._waves[update.component] = update.wave
        yield StepStartedEvent(step_name=_step(update.component, update.wave))

    def _thought(self, update: ThoughtUpdate) -> Iterator[BaseEvent]:
        span = f"{self._run_id}-thought-{update.sequence}"
        message = f"{span}-text"
        yield ReasoningStartEvent(message_id=span)
        yield ReasoningMessageStartEvent(message_id=message, role="reasoning")
        yield ReasoningMessageContentEvent(message_id=message, delta=update.text)
        yield ReasoningMessageEndEvent(message_id=message)
        yield ReasoningEndEvent(message_id=span)

    def _call(self, update: ToolCallUpdate) -> Iterator[BaseEvent]:
        key = update.component, update.call.id
        call_id = f"{self._run_id[-12:]}-{update.sequence}"  # hosted models take ids of at most 40 characters
        self._calls.pop(key, None)
        self._calls[key] = call_id
        if len(self._calls) > MAX_CALLS:
            del self._calls[next(iter(self._calls))]
        parent = f"{self._run_id}-{update.component}-wave-{update.wave}"
        yield ToolCallStartEvent(tool_call_id=call_id, tool_call_name=update.call.name, parent_message_id=parent)
        yield ToolCallArgsEvent(tool_call_id=call_id, delta=update.call.arguments or "{}")
        yield ToolCallEndEvent(tool_call_id=call_id)

    def _result(self, update: ToolResultUpdate) -> Iterator[BaseEvent]:
        call_id = self._calls.pop((update.component, update.call_id), None)
        if (
            call_id is None
        ):  # a second result, or one of a call that is no longer kept: a message without its call is not valid
            value = {"component": update.component, "tool": update.name, "content": update.content}
            yield CustomEvent(name="lanemesh.tool_result", value=value)
            return
        yield ToolCallResultEvent(
            message_id=f"{call_id}-result",
            tool_call_id=call_id,
            content=update.content,
            role="tool",
            metadata={"lanemesh": {"is_error": update.is_error, "seconds": update.seconds}},
        )


def _step(component: str, wave: int) -> str:
    return f"{component} wave {wave}"
