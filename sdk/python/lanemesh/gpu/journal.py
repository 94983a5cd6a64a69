"""What an arbiter has to know after a restart: its leases, their fencing tokens, and what models had.

A file of JSON lines, to which each change is appended before its frames are sent. It is written anew, in one step, when it has
grown. A line that was not written completely is ignored. Requests that wait are not in it: their clients ask again.
"""

from __future__ import annotations

import base64
import fcntl
import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import gpu_pb2

MAX_BYTES = 1 << 20
"""Size above which the file is written anew with what is still true."""
TOKENS_AHEAD = 10_000
"""Fencing tokens that one line reserves, so that most grants need none of their own."""

log = logging.getLogger("lanemesh.gpu")


@dataclass(frozen=True, slots=True)
class LeaseEntry:
    """A lease that has its devices, has yielded them, or is kept for a model."""

    id: str
    request: gpu_pb2.LeaseAcquire
    state: str
    """The name of its state: "HELD", "YIELDED" or "KEPT"."""
    tokens: Mapping[str, int]
    """Its fencing token of each device."""
    earlier_token: int = 0
    """The token of the first device before the latest grant, which its holder may still have."""
    resident_bytes: int = 0
    """Bytes of its model, if it is kept."""


@dataclass(slots=True)
class JournalState:
    """What a journal holds."""

    leases: dict[str, LeaseEntry] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    """For each device a token that is at least its latest."""
    peaks: dict[str, int] = field(default_factory=dict)
    """Most bytes that leases for each model had."""
    damaged: bool = False
    """Some of it cannot be read: there may be leases that it does not hold."""


class Journal:
    """The journal of one arbiter. It locks its file."""

    def __init__(self, path: Path) -> None:
        """Reads the file, if there is one.

        Raises:
            LanemeshError: it cannot be opened, or another arbiter uses it.
        """
        self._path = path
        self._failed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = path.with_name(path.name + ".lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.state = _read(path)
            self._file = -1
            self._rewrite()
        except BlockingIOError:
            message = f"The journal {path} is in use by another GPU arbiter. Stop that one, or name another file."
            raise LanemeshError(
                Fault(code=Code.FAILED_PRECONDITION, reason="journal-in-use", message=message)
            ) from None
        except OSError as error:
            message = f"The journal {path} cannot be opened: {error.strerror}. Name a file that can be written."
            raise LanemeshError(
                Fault(code=Code.FAILED_PRECONDITION, reason="journal-unusable", message=message)
            ) from None

    def write(
        self, changed: Iterable[tuple[str, LeaseEntry | None]], tokens: Mapping[str, int], peaks: Mapping[str, int]
    ) -> None:
        """Appends what has changed; with errors of the file system it logs one and goes on.

        Args:
            changed: leases by id; None: it has ended.
            tokens: the latest token of each device.
            peaks: the most bytes that leases for each model had.
        """
        lines: list[dict[str, Any]] = []
        state = self.state
        for lease_id, entry in changed:
            if entry is not None:
                state.leases[lease_id] = entry
                lines.append({"lease": _to_json(entry)})
            elif state.leases.pop(lease_id, None) is not None:
                lines.append({"ended": lease_id})
        ahead = {
            device: token + TOKENS_AHEAD for device, token in tokens.items() if token > state.tokens.get(device, 0)
        }
        if ahead:
            state.tokens |= ahead
            lines.append({"tokens": ahead})
        if peaks != state.peaks:
            state.peaks = dict(peaks)
            lines.append({"peaks": state.peaks})
        if not lines:
            return
        try:
            os.write(self._file, b"".join(json.dumps(line).encode() + b"\n" for line in lines))
            if os.fstat(self._file).st_size > MAX_BYTES:
                self._rewrite()
        except OSError as error:
            if not self._failed:
                self._failed = True
                log.error("the journal %s cannot be written, so a restart forgets leases: %s", self._path, error)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)
        self._lock.close()

    def _rewrite(self) -> None:
        """Replaces the file by one with what is true now."""
        state, fresh = self.state, self._path.with_name(self._path.name + ".new")
        lines: list[dict[str, Any]] = [{"tokens": state.tokens}, {"peaks": state.peaks}]
        lines += [{"lease": _to_json(entry)} for entry in state.leases.values()]
        with fresh.open("wb") as file:
            file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        if self._file >= 0:
            os.close(self._file)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND)


def _read(path: Path) -> JournalState:
    state = JournalState()
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return state
    lines = text.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            _apply(state, json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError, DecodeError):
            if number < len(lines):  # the last line without its end was not written completely
                state.damaged = True
                log.error("line %d of the journal %s cannot be read", number, path)
    return state


def _apply(state: JournalState, line: dict[str, Any]) -> None:
    if "lease" in line:
        entry = _from_json(line["lease"])
        state.leases[entry.id] = entry
    elif "ended" in line:
        state.leases.pop(line["ended"], None)
    elif "tokens" in line:
        state.tokens |= {str(device): int(token) for device, token in line["tokens"].items()}
    elif "peaks" in line:
        state.peaks = {str(model): int(size) for model, size in line["peaks"].items()}


def _to_json(entry: LeaseEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "request": base64.b64encode(entry.request.SerializeToString()).decode(),
        "state": entry.state,
        "tokens": dict(entry.tokens),
        "earlier": entry.earlier_token,
        "resident": entry.resident_bytes,
    }


def _from_json(value: dict[str, Any]) -> LeaseEntry:
    if value["state"] not in ("HELD", "YIELDED", "KEPT"):
        raise ValueError(value["state"])
    return LeaseEntry(
        id=str(value["id"]),
        request=gpu_pb2.LeaseAcquire.FromString(base64.b64decode(value["request"], validate=True)),
        state=value["state"],
        tokens={str(device): int(token) for device, token in value["tokens"].items()},
        earlier_token=int(value["earlier"]),
        resident_bytes=int(value["resident"]),
    )
