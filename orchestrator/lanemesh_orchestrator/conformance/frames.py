"""Short descriptions of frames and faults for the reports of checks."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import Message
from lanemesh.faults import Code
from lanemesh.v1 import fault_pb2

MAX_SHOWN = 160
"""Most characters of a frame that a report shows."""


def shown(frame: Message | bytes | None) -> str:
    """A frame in one line; None is the end of the stream."""
    if frame is None:
        return "the end of the stream"
    if isinstance(frame, bytes):
        return f"{len(frame)} bytes that are not a frame"
    name = _kind(frame)
    text = " ".join(str(getattr(frame, name) if name else "").split())
    return f"`{name or 'heartbeat'}` {{{text[:MAX_SHOWN]}}}"


def _kind(frame: Any) -> str:
    return frame.WhichOneof("frame") or ""


def fault_shown(fault: fault_pb2.Fault) -> str:
    """A fault in one line."""
    secondary = ", secondary" if fault.secondary else ""
    return f"{code_name(fault.code)} {fault.reason or '(no reason)'}{secondary}: {fault.message[:MAX_SHOWN]}"


def faults_shown(faults: Any) -> str:
    """Several faults in one line."""
    return "; ".join(map(fault_shown, faults)) or "no fault"


def code_name(code: int) -> str:
    """The name of a status code, such as NOT_FOUND."""
    try:
        return Code(code).name
    except ValueError:
        return f"code {code}"


def status_code(code: grpc.StatusCode) -> int:
    """The number of a status code."""
    return int(code.value[0])
