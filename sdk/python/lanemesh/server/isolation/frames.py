"""The frames between a node server and the process of an isolated body: pickles, each after its length in 4 bytes.

Both ends are Lanemesh's own processes, over private pipes.
"""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from typing import Any

from lanemesh.chat import ToolProgress, ToolResult
from lanemesh.faults import Fault
from lanemesh.values import ToolCall

LENGTH = struct.Struct(">I")
"""Four bytes, the most significant first: pickles of up to 4 GiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """To the process, first: the component to run."""

    module: str
    qualname: str
    file: str
    """The file of the module."""
    path: tuple[str, ...]
    """`sys.path` of the server."""
    config: str
    """As JSON."""
    secret_pointers: tuple[str, ...]
    """JSON pointers to the secrets in it."""
    run_id: str
    component: str
    provider: str
    traceparent: str
    session: str
    log_level: int


@dataclass(frozen=True, slots=True)
class Fire:
    """To the process: one firing, with the values of its inputs."""

    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Taken:
    """To the process: so many further values of the firing were taken."""

    count: int


@dataclass(frozen=True, slots=True)
class Close:
    """To the process: unload, and end."""


@dataclass(frozen=True, slots=True)
class Ready:
    """From the process: it has loaded, and may fire."""


@dataclass(frozen=True, slots=True)
class Logged:
    """From the process: a log line of its body."""

    level: int
    line: str


@dataclass(frozen=True, slots=True)
class Progressed:
    """From the process: the progress of its body."""

    done: float
    total: float
    message: str


@dataclass(frozen=True, slots=True)
class Reported:
    """From the process: an event of an agent, for the run's clients."""

    event: str | ToolCall | ToolProgress | ToolResult
    wave: int


@dataclass(frozen=True, slots=True)
class Yielded:
    """From the process: a value that `gen_process` has yielded."""

    pair: Any


@dataclass(frozen=True, slots=True)
class Returned:
    """From the process: the body has ended, with the result of `process`."""

    result: Any = None


@dataclass(frozen=True, slots=True)
class Failed:
    """From the process: the error of the body, or of `load`."""

    fault: Fault


def to_bytes(frame: Any) -> bytes:
    """A frame with its length before it. Raises pickle's error for values that cannot be pickled."""
    pickled = pickle.dumps(frame, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(pickled)) + pickled


def from_bytes(pickled: bytes) -> Any:
    """The frame that followed its length."""
    return pickle.loads(pickled)
