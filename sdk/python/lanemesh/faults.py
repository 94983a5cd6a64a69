"""What can go wrong, as one value that travels: between tasks, in lane frames and in updates."""

from __future__ import annotations

import asyncio
import traceback as tracebacks
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING

from lanemesh._aio.user_errors import NoException
from lanemesh.rendering import text_of, valid_unicode

if TYPE_CHECKING:
    from google.rpc import status_pb2

    from lanemesh.v1 import fault_pb2

DOMAIN = "lanemesh"
"""The domain of every `google.rpc.ErrorInfo` that Lanemesh sends."""

MAX_TEXT = 16_384
"""Longest message or traceback, in characters, that a fault carries; longer ones are cut in the middle."""

_MESSAGE_BYTES = 1_500
_TRACEBACK_BYTES = 3_000
_DETAIL_BYTES = 200
_DETAILS = 8


class Code(IntEnum):
    """The gRPC status codes that faults use (https://grpc.github.io/grpc/core/md_doc_statuscodes.html)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that went wrong."""

    code: Code
    """The gRPC status code."""
    reason: str
    """Machine-readable, in kebab case, such as "node-error" or "lane-broken"."""
    message: str
    """What, where and what to do next."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Where: component, provider, server, lane, exception and the like."""
    traceback: str = ""
    """The user's frames of an exception's traceback; empty if there is none."""
    secondary: bool = False
    """It is the consequence of another fault: of a lane, a Host stream or a cancellation."""
    retry_after: float | None = None
    """Seconds after which the same call may succeed, for a rejection that changed nothing; None: a retry is not suggested. Failed
    calls carry it, frames and updates do not."""

    def as_secondary(self, **details: str) -> Fault:
        """The same fault as its consequences report it, with further details."""
        return replace(self, secondary=True, details={**self.details, **details})

    def located(self, **details: str) -> Fault:
        """The same fault with details that it does not have yet."""
        return replace(self, details={**details, **self.details})

    def bounded(self) -> Fault:
        """The same fault, cut to what fits in gRPC's trailing metadata (8 KiB in all): 1,500 bytes of message, 3,000 of traceback,
        eight details of 200."""
        return replace(
            self,
            message=_cut_bytes(self.message, _MESSAGE_BYTES),
            traceback=_cut_bytes(self.traceback, _TRACEBACK_BYTES),
            details={key: _cut_bytes(value, _DETAIL_BYTES) for key, value in list(self.details.items())[:_DETAILS]},
        )

    def to_proto(self) -> fault_pb2.Fault:
        """The fault as frames and updates carry it."""
        from lanemesh.v1 import fault_pb2

        return fault_pb2.Fault(
            code=int(self.code),
            message=_cut(self.message),
            reason=valid_unicode(self.reason),
            details={valid_unicode(key): _cut(value) for key, value in self.details.items()},
            traceback=_cut(self.traceback),
            secondary=self.secondary,
        )

    @classmethod
    def from_proto(cls, fault: fault_pb2.Fault) -> Fault:
        """The fault of a frame or an update; one without a reason gets "unknown", and no fault is OK."""
        return cls(
            code=_code(fault.code),
            reason=fault.reason or "unknown",
            message=fault.message or "no reason was given",
            details=dict(fault.details),
            traceback=fault.traceback,
            secondary=fault.secondary,
        )

    def to_status(self) -> status_pb2.Status:
        """The fault as a failed gRPC call carries it: a `google.rpc.Status` with `ErrorInfo`, where there is a traceback
        `DebugInfo`, `RetryInfo` if a retry is suggested, and for a secondary fault a `Fault` that says so."""
        from google.rpc import error_details_pb2, status_pb2

        status = status_pb2.Status(code=int(self.code), message=_cut(self.message))
        metadata = {valid_unicode(key): _cut(value) for key, value in self.details.items()}
        info = error_details_pb2.ErrorInfo(reason=valid_unicode(self.reason), domain=DOMAIN, metadata=metadata)
        status.details.add().Pack(info)
        if self.traceback:
            status.details.add().Pack(error_details_pb2.DebugInfo(detail=_cut(self.traceback)))
        if self.retry_after is not None:
            from lanemesh.times import duration

            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=duration(self.retry_after)))
        if self.secondary:
            from lanemesh.v1 import fault_pb2

            status.details.add().Pack(fault_pb2.Fault(secondary=True))
        return status

    @classmethod
    def from_status(cls, status: status_pb2.Status) -> Fault:
        """The fault of a failed gRPC call; one without our `ErrorInfo` gets the reason "unknown", and no fault is OK."""
        from google.rpc import error_details_pb2

        from lanemesh.times import seconds_of
        from lanemesh.v1 import fault_pb2

        reason, details, traceback, secondary = "unknown", {}, "", False
        retry_after: float | None = None
        for packed in status.details:
            info, debug, mark = error_details_pb2.ErrorInfo(), error_details_pb2.DebugInfo(), fault_pb2.Fault()
            retry = error_details_pb2.RetryInfo()
            if packed.Unpack(info) and info.domain == DOMAIN:
                reason, details = info.reason, dict(info.metadata)
            elif packed.Unpack(debug):
                traceback = debug.detail
            elif packed.Unpack(retry):
                retry_after = max(0.0, seconds_of(retry.retry_delay))
            elif packed.Unpack(mark):
                secondary = mark.secondary
        return cls(
            code=_code(status.code),
            reason=reason,
            message=status.message or "no reason was given",
            secondary=secondary,
            details=details,
            traceback=traceback,
            retry_after=retry_after,
        )

    @classmethod
    def from_exception(cls, error: BaseException, **details: str) -> Fault:
        """The fault of an exception: its own if it is ours, else "node-error" with type, message, traceback.

        One that was raised from, or while handling, a secondary fault is secondary too. Never raises, whatever the exception does.
        """
        if isinstance(error, NoException):
            error = error.raised
        if isinstance(error, LanemeshError):
            return replace(error.fault.located(**details), secondary=error.fault.secondary or _is_consequence(error))
        kind = type(error).__name__
        return cls(
            code=Code.UNKNOWN,
            reason="node-error",
            message=_message(kind, error),
            details={**details, "exception": kind},
            traceback=user_frames(error),
            secondary=_is_consequence(error),
        )


def _message(kind: str, error: BaseException) -> str:
    """An exception in words: its type and its text."""
    text = text_of(error)
    if isinstance(error, asyncio.CancelledError):
        text = text or "it was not cancelled; a task or future that its code awaits was"
    return f"{kind}: {text}" if text else kind


def _is_consequence(error: BaseException) -> bool:
    """It was raised from, or while handling, a secondary fault."""
    seen: set[int] = set()
    origin = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    while origin is not None and id(origin) not in seen:
        seen.add(id(origin))
        if isinstance(origin, LanemeshError) and origin.fault.secondary:
            return True
        origin = origin.__cause__ or (None if origin.__suppress_context__ else origin.__context__)
    return False


def user_frames(error: BaseException) -> str:
    """The traceback of an exception without the frames of Lanemesh, asyncio and the import machinery that carried it."""
    if isinstance(error, NoException):
        error = error.raised
    own = (
        "/lanemesh/node/",
        "/lanemesh/tools/",
        "/lanemesh/_aio/",
        "/lanemesh/lanes/",
        "/lanemesh/control/",
        "/lanemesh/server/",
        "/asyncio/",
        "/concurrent/futures/",
        "<frozen importlib.",
    )
    try:
        return _user_frames(error, own)
    except Exception as failure:  # of an attribute or a text of the exception
        return f"{type(error).__name__}: its traceback cannot be formatted: {type(failure).__name__} was raised"


def _user_frames(error: BaseException, own: Collection[str]) -> str:
    whole = tracebacks.TracebackException.from_exception(error)
    kept = [frame for frame in whole.stack if not any(part in frame.filename.replace("\\", "/") for part in own)]
    if kept or isinstance(error, SyntaxError):  # which has its place beside the stack
        whole.stack = tracebacks.StackSummary.from_list(kept)
    return "".join(whole.format())


def _code(number: int) -> Code:
    """The status code of a number; UNKNOWN for 0 and for what is no status code."""
    try:
        return Code(number) or Code.UNKNOWN
    except ValueError:
        return Code.UNKNOWN


def _cut(text: str) -> str:
    text = valid_unicode(text)
    if len(text) <= MAX_TEXT:
        return text
    half = MAX_TEXT // 2
    return f"{text[:half]}\n... {len(text) - MAX_TEXT} characters omitted ...\n{text[-half:]}"


def _cut_bytes(text: str, limit: int) -> str:
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return encoded.decode()
    mark = " ... "
    half = (limit - len(mark)) // 2
    return encoded[:half].decode("utf-8", "ignore") + mark + encoded[-half:].decode("utf-8", "ignore")


class LanemeshError(Exception):
    """Base of the errors that Lanemesh raises. Its fault says what, where and what to do next."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the same call may succeed, if a retry is suggested."""
        return self.fault.retry_after

    def __reduce__(self) -> tuple[type[LanemeshError], tuple[Fault]]:
        return (type(self), (self.fault,))


class LaneFault(LanemeshError):
    """A lane ended with a fault: of the node at its other end, or of the connection between them."""


class WouldBlock(LanemeshError, LookupError):
    """Something was to be taken from an input at which nothing waits."""


class EndOfInput(LanemeshError, LookupError):
    """An input has ended without the item that was asked for."""


class ValueRefused(LanemeshError):
    """A value that its lane may not carry: of the wrong type, no JSON, or too large."""


class NodeDefinitionError(LanemeshError, TypeError):
    """A node class that contradicts itself."""
