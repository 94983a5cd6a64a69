"""What is wrong with a pipeline: one value per fault, and the exception that carries all of them."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lanemesh.faults import Code, Fault, LanemeshError, PipelineFault, Severity

if TYPE_CHECKING:
    from google.rpc import status_pb2

__all__ = [
    "MAX_FAULTS",
    "PipelineFault",
    "PipelineInvalid",
    "Severity",
    "escape",
    "in_order",
    "listed",
    "nearest",
    "pointer_order",
    "quoted",
]

MAX_SUGGESTIONS = 100
"""Most names that a misspelt one is compared with."""

MAX_STATUS_BYTES = 4_096
"""Most bytes of `PipelineInvalid.to_status`: it travels in trailers, which gRPC limits to 8 KiB."""

MAX_FAULTS = 1_000
"""Most faults that are reported of one pipeline; a last one counts the rest."""

SHOWN_IN_TEXT = 3
"""Faults that the one-paragraph text of `PipelineInvalid` tells; the rest is counted."""


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
    more = PipelineFault("", "more-faults", f"There are {rest} more faults.", "Mend these first, then validate again.")
    return (*ordered[:MAX_FAULTS], more)


def pointer_order(pointer: str) -> tuple[tuple[int, str], ...]:
    """A sort key that puts pointers in the order of the document, as far as they tell it."""
    parts = pointer.split("/")[1:]
    return tuple((int(part), "") if part.isdecimal() and len(part) < 10 else (-1, part) for part in parts)


def escape(key: str) -> str:
    """A key as one part of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like a given one; None if none is."""
    # Bounded, since difflib takes quadratic time and a document may hold thousands of names, or one of megabytes.
    alike = (other for other in known if abs(len(other) - len(name)) <= 10 or other[:4] == name[:4])
    matches = difflib.get_close_matches(name[:100], list(itertools.islice(alike, MAX_SUGGESTIONS)), n=1, cutoff=0.6)
    return matches[0] if matches else None


def listed(names: Sequence[str], limit: int = 12) -> str:
    """Names as people read them, the first `limit` of them."""
    if not names:
        return "none"
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def quoted(name: str, limit: int = 80) -> str:
    """A name of the document in quotes, cut if it is long."""
    return f'"{name}"' if len(name) <= limit else f'"{name[:limit]}..."'


def _paragraph(errors: Sequence[PipelineFault]) -> str:
    count = f"{len(errors)} fault{'' if len(errors) == 1 else 's'}"
    told = "; ".join(
        f"at {fault.pointer or 'the top'}: {' '.join((fault.message, fault.hint)).rstrip(' .')} ({fault.reason})"
        for fault in errors[:SHOWN_IN_TEXT]
    )
    more = f"; and {len(errors) - SHOWN_IN_TEXT} more" if len(errors) > SHOWN_IN_TEXT else ""
    return f"The pipeline cannot run: {count}: {told}{more}. `lanemesh validate FILE` shows every fault in its place."
