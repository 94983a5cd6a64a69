"""What is wrong with a pipeline: one value per fault, and the exception that carries all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from lanemesh.faults import Code, Fault, LanemeshError

if TYPE_CHECKING:
    from google.rpc import status_pb2

    from lanemesh.v1 import run_pb2

MAX_STATUS_BYTES = 4_096
"""Most bytes of `PipelineInvalid.to_status`: it travels in trailers, which gRPC limits to 8 KiB."""

MAX_FAULTS = 1_000
"""Most faults that are reported of one pipeline; a last one counts the rest."""

SHOWN_IN_TEXT = 3
"""Faults that the one-paragraph text of `PipelineInvalid` names; the rest is counted."""


class Severity(StrEnum):
    """How grave a fault of a pipeline is. It compares and prints as its word."""

    ERROR = "error"
    """The pipeline cannot run."""
    WARNING = "warning"
    """The pipeline can run and probably does not do what is wanted."""


@dataclass(frozen=True, slots=True)
class PipelineFault:
    """One fault of a pipeline document, as `validate` returns it."""

    pointer: str
    """JSON pointer (RFC 6901) to the place in the document; empty for the whole of it."""
    reason: str
    """Machine-readable, in kebab case, such as "unknown-provider"."""
    message: str
    """What is wrong, as a sentence. Never holds values that came from the environment."""
    hint: str = ""
    """What to do about it, as a sentence; empty if the message says it all."""
    severity: Severity = Severity.ERROR
    """Whether it stands in the way of a run."""

    def __str__(self) -> str:
        text = " ".join(filter(None, (self.message, self.hint)))
        return f"{self.pointer or 'the document'}: {text} ({self.reason})"

    def to_proto(self) -> run_pb2.PipelineFault:
        """The fault as it travels."""
        from lanemesh.v1 import run_pb2

        is_error = self.severity is Severity.ERROR
        return run_pb2.PipelineFault(
            pointer=_utf8(self.pointer),
            reason=self.reason,
            message=_utf8(self.message),
            hint=_utf8(self.hint),
            severity=run_pb2.SEVERITY_ERROR if is_error else run_pb2.SEVERITY_WARNING,
        )

    @classmethod
    def from_proto(cls, fault: run_pb2.PipelineFault) -> PipelineFault:
        """The fault that another process has reported. One of an unknown severity is an error."""
        from lanemesh.v1 import run_pb2

        severity = Severity.WARNING if fault.severity == run_pb2.SEVERITY_WARNING else Severity.ERROR
        return cls(fault.pointer, fault.reason, fault.message, fault.hint, severity)


class PipelineInvalid(LanemeshError):
    """A pipeline that cannot run, with everything that is wrong with it, warnings included, in the document's order."""

    def __init__(self, faults: Iterable[PipelineFault]) -> None:
        self.faults: tuple[PipelineFault, ...] = in_order(faults)
        errors = [fault for fault in self.faults if fault.severity is Severity.ERROR]
        super().__init__(
            Fault(
                code=Code.INVALID_ARGUMENT,
                reason="pipeline-invalid",
                message=_paragraph(errors),
                details={"faults": str(len(errors))},
            )
        )

    def __reduce__(self) -> tuple[type[PipelineInvalid], tuple[tuple[PipelineFault, ...]]]:  # type: ignore[override]
        return (type(self), (self.faults,))

    def to_status(self) -> status_pb2.Status:
        """The faults as a `google.rpc.Status` with `ErrorInfo` and `BadRequest.field_violations`, as many as have room."""
        from google.rpc import error_details_pb2

        status = self.fault.to_status()
        request = error_details_pb2.BadRequest()
        room = MAX_STATUS_BYTES - status.ByteSize()
        for fault in (fault.to_proto() for fault in self.faults):
            room -= fault.ByteSize() + 16
            if room < 0:
                break
            description = f"{fault.reason}: {fault.message} {fault.hint}".rstrip()
            request.field_violations.add(field=fault.pointer, description=description)
        status.details.add().Pack(request)
        return status


def in_order(faults: Iterable[PipelineFault]) -> tuple[PipelineFault, ...]:
    """The faults in the order of the document, each once, at most `MAX_FAULTS` of them and one that counts the rest."""
    ordered = sorted(dict.fromkeys(faults), key=lambda fault: pointer_order(fault.pointer))
    if len(ordered) <= MAX_FAULTS:
        return tuple(ordered)
    rest = len(ordered) - MAX_FAULTS
    more = PipelineFault(
        "", "more-faults", f"There are {rest} more faults.", "Correct these first, then validate again."
    )
    return (*ordered[:MAX_FAULTS], more)


def pointer_order(pointer: str) -> tuple[tuple[int, str], ...]:
    """A sort key that puts pointers in the order of the document, as far as they show it."""
    parts = pointer.split("/")[1:]
    return tuple((int(part), "") if part.isdecimal() and len(part) < 10 else (-1, part) for part in parts)


def _paragraph(errors: Sequence[PipelineFault]) -> str:
    count = f"{len(errors)} fault{'' if len(errors) == 1 else 's'}"
    listed = "; ".join(
        f"at {fault.pointer or 'the top'}: {' '.join((fault.message, fault.hint)).rstrip(' .')} ({fault.reason})"
        for fault in errors[:SHOWN_IN_TEXT]
    )
    more = f"; and {len(errors) - SHOWN_IN_TEXT} more" if len(errors) > SHOWN_IN_TEXT else ""
    return (
        f"The pipeline cannot run: {count}: {listed}{more}. `lanemesh validate FILE` shows every fault and its place."
    )


def _utf8(text: str) -> str:
    # JSON may hold lone surrogates, which protobuf refuses.
    return text.encode("utf-8", "replace").decode()
