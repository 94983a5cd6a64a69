"""The frames of a run as each process sends and receives them: recorded from a real run, to be sent again without Lanemesh."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import Message
from lanemesh.v1 import lane_pb2, node_pb2, run_pb2

FRAMES: dict[str, tuple[type[Message], type[Message]]] = {
    "Run": (run_pb2.RunRequest, run_pb2.RunResponse),
    "Host": (node_pb2.HostRequest, node_pb2.HostResponse),
    "ExchangeShort": (lane_pb2.ExchangeShortRequest, lane_pb2.ExchangeShortResponse),
    "Exchange": (lane_pb2.ExchangeRequest, lane_pb2.ExchangeResponse),
}
"""The methods whose frames belong to runs, each with the types of its requests and of its responses."""
SERVICES = {"Run": "RunService"}
"""The services of these methods; of the others it is `NodeService`."""


@dataclass(frozen=True)
class Frame:
    """One frame at one of its two ends."""

    at_ns: int
    """When it was serialised or parsed, by the monotonic clock of the machine."""
    sent: bool
    """Whether it was sent here, and not received."""
    method: str
    """One of `FRAMES`."""
    peer: str
    """The name of the process that was called; empty at the called process itself."""
    message: bytes
    """The serialised message."""

    def to_json(self) -> str:
        """As one line of text."""
        return json.dumps([self.at_ns, self.sent, self.method, self.peer, base64.b64encode(self.message).decode()])

    @classmethod
    def from_json(cls, line: str) -> Frame:
        """From such a line."""
        at_ns, sent, method, peer, message = json.loads(line)
        return cls(at_ns, sent, method, peer, base64.b64decode(message))


Script = Sequence[Frame]
"""What one process sends and receives in one run, in this order."""
Scripts = Mapping[str, Script]
"""The scripts of all processes of one run, by the names of the processes."""


def read(path: Path, names: Mapping[str, str]) -> list[Frame]:
    """The frames of a file, in the order of their times; `names` are those of the processes by address."""
    frames = (Frame.from_json(line) for line in path.read_text().splitlines())
    named = (
        Frame(each.at_ns, each.sent, each.method, names.get(each.peer, each.peer), each.message) for each in frames
    )
    return sorted(named, key=lambda frame: frame.at_ns)


def usual(runs: Sequence[Scripts]) -> Scripts:
    """The first of the runs that have the most frequent numbers of frames. Which frames are merged varies."""
    ((shape, _),) = Counter(_shape(run) for run in runs).most_common(1)
    return next(run for run in runs if _shape(run) == shape)


def counts(scripts: Scripts) -> dict[str, int]:
    """The number of frames of each method in a run. Half-closes are not among them."""
    found = Counter(frame.method for script in scripts.values() for frame in script if frame.sent)
    return dict(found)


def whole(scripts: Scripts) -> bool:
    """Whether every frame was recorded at both of its ends."""
    return sum(_ends(scripts.values(), sent=True).values()) > 0 and _ends(scripts.values(), sent=True) == _ends(
        scripts.values(), sent=False
    )


def _ends(scripts: Iterable[Script], *, sent: bool) -> Counter[tuple[str, bytes]]:
    return Counter((frame.method, frame.message) for script in scripts for frame in script if frame.sent is sent)


def _shape(run: Scripts) -> tuple[tuple[object, ...], ...]:
    ends = Counter((name, frame.method, frame.peer, frame.sent) for name, script in run.items() for frame in script)
    return tuple(sorted((*end, number) for end, number in ends.items()))
