"""The updates of a run as the events of one turn of a model. Pure: the same updates give the same events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from lanemesh.client.updates import HelperUpdate, JobUpdate, OutputUpdate, RunState, Update
from lanemesh.faults import Code, Fault
from lanemesh.json_text import dump_json
from lanemesh.values import Answer, ToolCall, Usage

if TYPE_CHECKING:
    from lanemesh_orchestrator.gateway.model_api.deployed import DeployedModel

PARAGRAPH = "\n\n"
"""Between two answers of one run."""


@dataclass(frozen=True, slots=True)
class Began:
    """The run has begun."""

    run_id: str
    """Its id."""
    time: datetime
    """When."""


@dataclass(frozen=True, slots=True)
class Wrote:
    """The model wrote text."""

    text: str
    """To append to what came before; not empty."""


@dataclass(frozen=True, slots=True)
class Called:
    """The model requests the call of a tool."""

    call: ToolCall
    """The call."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The turn is complete; the last event."""

    reason: str
    """Why it ended: "stop", "length" or "tool_calls"."""
    usage: Usage | None
    """What it cost; None if that is not known."""
    time: datetime
    """When."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The run failed or was cancelled; the last event."""

    fault: Fault
    """The cause."""
    time: datetime
    """When."""


@dataclass(frozen=True, slots=True)
class Lost(Failed):
    """The further updates of the run cannot be read; the run may continue."""


TurnEvent: TypeAlias = Began | Wrote | Called | Finished | Failed
"""One event of a turn."""


class TurnReader:
    """Reads the updates of one run, in order."""

    def __init__(self, model: DeployedModel) -> None:
        self._model = model
        self._began = False
        self._written = False
        """The present answer has text."""
        self._answered = False
        """An answer has ended, so that further text begins another one."""
        self._called = False
        self._reason = ""
        self._usage: Usage | None = None
        self._helpers: dict[str, Usage] = {}
        """What the helpers used, for answers without usage."""

    def read(self, update: Update) -> Iterator[TurnEvent]:
        """The events of an update."""
        if isinstance(update, OutputUpdate):
            if update.component == self._model.target and update.lane == self._model.lane:
                yield from self._output(update.value)
        elif isinstance(update, JobUpdate):
            yield from self._job(update)
        elif isinstance(update, HelperUpdate) and update.usage is not None:
            self._helpers[update.component] = update.usage

    def _job(self, job: JobUpdate) -> Iterator[TurnEvent]:
        if not self._began:
            self._began = True
            yield Began(job.run_id, job.time)
        if job.state is RunState.COMPLETED:
            if self._reason in ("error", "cancelled"):
                message = f"the answer ended early ({self._reason}); the log of the run has the cause"
                yield Failed(Fault(code=Code.INTERNAL, reason="answer-incomplete", message=message), job.time)
            else:
                yield Finished(self._finish_reason(), self._usage or _total(self._helpers.values()), job.time)
        elif job.state is RunState.FAILED:
            unknown = Fault(code=Code.UNKNOWN, reason="answer-incomplete", message="the run failed")
            yield Failed(job.error or unknown, job.time)
        elif job.state is RunState.CANCELLED:
            message = f"the run was cancelled: {job.reason or 'without a reason'}"
            yield Failed(Fault(code=Code.CANCELLED, reason="cancelled", message=message), job.time)

    def _output(self, value: object) -> Iterator[TurnEvent]:
        if isinstance(value, str):
            yield from self._text(value)
        elif isinstance(value, Answer):
            yield from self._text(value.text)
            for call in value.tool_calls:
                self._called = True
                yield Called(call)
            if value.data is not None and not self._written:
                yield from self._text(dump_json(value.data))
            if value.usage is not None:
                self._usage = _total((self._usage, value.usage) if self._usage is not None else (value.usage,))
            if value.finish_reason:
                self._reason = value.finish_reason
                self._answered, self._written = self._answered or self._written, False

    def _text(self, text: str) -> Iterator[TurnEvent]:
        if not text:
            return
        if self._answered and not self._written:
            text = PARAGRAPH + text
        self._written = True
        yield Wrote(text)

    def _finish_reason(self) -> str:
        if self._called:
            return "tool_calls"
        return "length" if self._reason == "length" else "stop"


def _total(usages: Iterable[Usage]) -> Usage | None:
    found = list(usages)
    if not found:
        return None
    return Usage(sum(one.prompt_tokens for one in found), sum(one.completion_tokens for one in found))
