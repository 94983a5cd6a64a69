"""The updates of a run as the events of one run of AG-UI. Pure: the same updates give the same events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import chain

from ag_ui.core import (
    BaseEvent,
    CustomEvent,
    RunAgentInput,
    RunErrorEvent,
    RunFinishedCancelledOutcome,
    RunFinishedEvent,
    RunFinishedInterruptOutcome,
    RunFinishedOutcome,
    RunFinishedSuccessOutcome,
    RunStartedEvent,
    TextMessageContentEvent,
    TokenUsage,
)
from lanemesh.client.updates import (
    ApprovalState,
    ApprovalUpdate,
    HelperUpdate,
    JobUpdate,
    LogLevel,
    LogUpdate,
    NodeUpdate,
    OutputUpdate,
    ProgressUpdate,
    RunState,
    ToolUpdate,
    Update,
)
from lanemesh.faults import Code, Fault
from lanemesh.values import Answer, Usage

from lanemesh_orchestrator.gateway.agui.interrupts import interrupt_of
from lanemesh_orchestrator.gateway.agui.node_events import ENDED, NodeEvents
from lanemesh_orchestrator.gateway.agui.text_messages import TextMessages
from lanemesh_orchestrator.gateway.agui.tool_events import ToolEvents
from lanemesh_orchestrator.reasons import Reason

PROTOCOL_VERSION = "1.0"
"""The version of AG-UI."""
_NOTED = (LogLevel.WARNING, LogLevel.ERROR)


class AgentEvents:
    """Makes the events of one request from the updates of its run, in order: `start`, updates, and one end.

    The end is that of the run, `interrupt` or `fail`. Before `start` updates give no events, but count for what follows: a request
    that continues an interrupted run reads its earlier updates so.
    """

    def __init__(self, given: RunAgentInput, run_id: str) -> None:
        """`given`: the request. `run_id`: of the run behind it."""
        self._given = given
        self._run_id = run_id
        self._texts = TextMessages(run_id)
        self._tools = ToolEvents(run_id)
        self._nodes = NodeEvents(run_id, given.state)
        self._pending: dict[tuple[str, str], ApprovalUpdate] = {}
        self._started = False
        self._reason = ""
        """Why the last answer ended."""
        self._answers: Usage | None = None
        """What the answers cost so far."""
        self._helpers: dict[str, Usage] = {}
        """What each helper used so far, for answers without usage."""
        self._used_before: Usage | None = None
        """What was used at the start."""
        self.ended = False
        """The last event was made."""
        self.run_ended = False
        """The run has ended."""

    @property
    def waits(self) -> bool:
        """Whether a component waits for an approval."""
        return bool(self._pending)

    def start(self, waiting: Collection[tuple[str, str]] = ()) -> list[BaseEvent]:
        """The first events. `waiting`: components and ids of the approvals among those of the read updates that still wait."""
        self._started = True
        self._pending = {key: one for key, one in self._pending.items() if key in waiting}
        self._used_before = self._used()
        for _ in self._texts.end_all():
            pass  # the client has them, and their ends
        begun = RunStartedEvent(
            thread_id=self._given.thread_id,
            run_id=self._given.run_id,
            protocol_version=PROTOCOL_VERSION,
            metadata={"lanemesh": {"run_id": self._run_id}},
        )
        return [begun, *self._nodes.snapshot(), *self._nodes.resume(), *self._tools.resume()]

    def read(self, updates: Iterable[Update]) -> list[BaseEvent]:
        """The events of updates. Adjacent pieces of a text are one event."""
        found: list[BaseEvent] = []
        for event in chain.from_iterable(map(self._read, updates)):
            last = found[-1] if found else None
            if (
                isinstance(event, TextMessageContentEvent)
                and isinstance(last, TextMessageContentEvent)
                and last.message_id == event.message_id
            ):
                last.delta += event.delta
            else:
                found.append(event)
        return found if self._started else []

    def interrupt(self, after: int) -> list[BaseEvent]:
        """The last events of a request whose run waits for approvals. `after`: the number of the last update."""
        interrupts = [
            interrupt_of(one, self._run_id, after, self._tools.call_of(one.component, one.call_id))
            for one in self._pending.values()
        ]
        return [*self._pause(), self._finished(RunFinishedInterruptOutcome(interrupts=interrupts))]

    def fail(self, fault: Fault) -> list[BaseEvent]:
        """The last events of a request whose run failed, or cannot be read. Empty after the end."""
        if self.ended:
            return []
        self.ended = True
        closing = self._pause() if self._started else ()
        return [*closing, RunErrorEvent(message=fault.message, code=fault.reason, usage=self._total())]

    def _read(self, update: Update) -> Iterator[BaseEvent]:
        match update:
            case OutputUpdate():
                if isinstance(update.value, Answer):
                    self._answers = _sum(filter(None, (self._answers, update.value.usage)))
                    self._reason = update.value.finish_reason or self._reason
                yield from self._texts.read(update)
            case ToolUpdate():
                yield from self._tools.read(update)
            case NodeUpdate():
                if update.state in ENDED:
                    yield from self._tools.end_wave(update.component)
                yield from self._nodes.read(update)
            case ApprovalUpdate():
                self._approval(update)
            case JobUpdate():
                yield from self._job(update)
            case HelperUpdate() if update.usage is not None:
                self._helpers[update.component] = update.usage
            case ProgressUpdate():
                value = {"component": update.component, "done": update.done, "total": update.total or None}
                yield CustomEvent(name="lanemesh.progress", value={**value, "message": update.message})
            case LogUpdate() if update.level in _NOTED:
                value = {"component": update.component, "level": update.level.value, "message": update.message}
                yield CustomEvent(name="lanemesh.log", value=value)

    def _approval(self, update: ApprovalUpdate) -> None:
        key = update.component, update.call_id
        if update.state is ApprovalState.REQUESTED:
            self._pending[key] = update
        else:
            self._pending.pop(key, None)

    def _job(self, job: JobUpdate) -> Iterator[BaseEvent]:
        if not job.state.is_terminal:
            return
        self.run_ended = True
        if job.state is RunState.FAILED:
            unknown = Fault(code=Code.UNKNOWN, reason=Reason.ANSWER_INCOMPLETE, message="the run failed")
            yield from self.fail(job.error or unknown)
            return
        cancelled = job.state is RunState.CANCELLED
        if not cancelled and self._reason in ("error", "cancelled"):
            message = f"the answer ended early ({self._reason}); the log of the run has the cause"
            yield from self.fail(Fault(code=Code.INTERNAL, reason=Reason.ANSWER_INCOMPLETE, message=message))
            return
        yield from self._pause()
        success = RunFinishedSuccessOutcome(pending_tool_call_ids=self._texts.calls or None)
        yield self._finished(RunFinishedCancelledOutcome() if cancelled else success)

    def _pause(self) -> Iterator[BaseEvent]:
        """Ends what is open."""
        yield from self._texts.end_all()
        yield from self._tools.pause()
        yield from self._nodes.pause()

    def _finished(self, outcome: RunFinishedOutcome) -> RunFinishedEvent:
        self.ended = True
        given = self._given
        return RunFinishedEvent(thread_id=given.thread_id, run_id=given.run_id, outcome=outcome, usage=self._total())

    def _used(self) -> Usage | None:
        return self._answers or _sum(self._helpers.values())

    def _total(self) -> list[TokenUsage] | None:
        """What the run used since the start; None if that is not known."""
        used, before = self._used(), self._used_before or Usage(0, 0)
        if used is None:
            return None
        read = max(0, used.prompt_tokens - before.prompt_tokens)
        written = max(0, used.completion_tokens - before.completion_tokens)
        return [TokenUsage(input_tokens=read, output_tokens=written, total_tokens=read + written)]


def _sum(usages: Iterable[Usage]) -> Usage | None:
    found = list(usages)
    if not found:
        return None
    return Usage(sum(one.prompt_tokens for one in found), sum(one.completion_tokens for one in found))
