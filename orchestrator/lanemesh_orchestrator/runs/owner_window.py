"""The window of the owner of a run: which updates it was given, which it has acknowledged, and which it may be given next."""

from __future__ import annotations

from collections import deque

from lanemesh.faults import Code, Fault, LanemeshError

from lanemesh_orchestrator.runs.batches import MAX_BATCH_BYTES, MAX_BATCH_UPDATES
from lanemesh_orchestrator.runs.kept_updates import KeptUpdates, Portion

CALLER_UPDATES = 256
"""Number of updates that the program of the owner may lag behind before outputs wait, stored or not."""
CALLER_BYTES = 1024 * 1024
"""Bytes of updates that it may lag behind: 1 MiB."""
ALONE_BYTES = 256 * 1024
"""Bytes of unacknowledged updates up to which a larger update is sent although it exceeds the window: 256 KiB."""


class OwnerWindow:
    """At most 256 updates or 1 MiB are given and not acknowledged. An update that is larger than the rest of the window is given
    once at most 256 KiB are not acknowledged. In a run without an owner it counts what the reader has read that paces the run."""

    def __init__(self, kept: KeptUpdates, *, owned: bool) -> None:
        """`kept` are the updates of the run; `owned`: it has an owner."""
        self.read = 0
        """Number of the latest update that the program of the owner has taken."""
        self.given_to = 0
        """Number of the latest update that the owner was given."""
        self._kept = kept
        self._owned = owned
        self._read_bytes = 0
        """Bytes of all updates up to `read`."""
        self._given: deque[Portion] = deque()
        """What was given and not acknowledged."""
        self._given_bytes = 0
        """Bytes of all updates up to `given_to`."""
        self._error: LanemeshError | None = None
        """Why the owner gets no further updates, if it acknowledged a wrong number."""
        self._half_closed = False
        """The owner can acknowledge no more."""

    def is_ahead(self, times: int = 1) -> bool:
        """Whether the owner, if there is one, lags behind by this number of times the permitted number of updates, or by the
        permitted bytes."""
        if not self._owned:
            return False
        updates, bytes_ahead = self._kept.last - self.read, self._kept.total - self._read_bytes
        return updates >= times * CALLER_UPDATES or bytes_ahead >= CALLER_BYTES

    def capacity(self) -> tuple[int, int]:
        """The numbers of updates and of bytes that may be added before outputs wait for the owner."""
        return CALLER_UPDATES - (self._kept.last - self.read), CALLER_BYTES - (self._kept.total - self._read_bytes)

    def give(self, readable: int) -> Portion | None:
        """The next updates for the owner, up to the number of the latest readable one; None if there is none now, or the window
        does not permit it.

        Raises:
            LanemeshError: the next update was dropped, or the owner has acknowledged a wrong number.
        """
        if self._error is not None:
            raise self._error
        wanted = self.given_to + 1
        if wanted < self._kept.first:
            raise _dropped(wanted, self._kept.first - 1)
        updates = self.read + CALLER_UPDATES - self.given_to
        if wanted > readable or updates <= 0:
            return None
        unacknowledged = self._given_bytes - self._read_bytes
        size = max(1, min(MAX_BATCH_BYTES, CALLER_BYTES - unacknowledged))
        found = self._kept.portion(wanted, readable, most=min(MAX_BATCH_UPDATES, updates), most_bytes=size)
        if unacknowledged + found.size > CALLER_BYTES and unacknowledged > ALONE_BYTES:
            return None
        self._given.append(found)
        self.given_to, self._given_bytes = found.last, found.total
        return found

    def check(self, readable: int) -> None:
        """Raises LanemeshError if the window does not permit the next update and the owner can acknowledge no more: the update is
        there, or outputs wait for the owner, which has all others."""
        is_used_up = self.given_to < readable or (self.given_to >= self._kept.last and self.is_ahead())
        if self._half_closed and is_used_up:
            raise _half_closed(self.given_to)

    def take(self, sequence: int, total: int) -> bool:
        """Records that the updates up to a number are read, with `total` bytes. Returns whether some of them were not before."""
        if sequence <= self.read:
            return False
        self.read, self._read_bytes = sequence, total
        return True

    def acknowledge(self, sequence: int) -> bool:
        """Records that the owner's program has taken the updates up to a number. Returns whether that includes further ones.

        Raises:
            LanemeshError: the update was not given to the owner, or an update after it was acknowledged before.
        """
        if not self.read <= sequence <= self.given_to:
            self._error = self._bad_acknowledgement(sequence)
            raise self._error
        before = self.read
        while self._given and self._given[0].last <= sequence:
            self.take(self._given[0].last, self._given.popleft().total)
        if sequence > self.read:  # in the middle of a batch
            self.take(sequence, self._given[0].total_at(sequence))
        return self.read > before

    def half_close(self) -> None:
        """Handles the half-close of the owner's call: it gets what the window still permits."""
        self._half_closed = True

    def _bad_acknowledgement(self, sequence: int) -> LanemeshError:
        if sequence > self.given_to:
            why = f"the last update that was sent has the number {self.given_to}"
        else:
            why = f"update {self.read} was acknowledged before"
        message = f"the client acknowledged update {sequence}, but {why}. Acknowledge the number of the last update that was taken"
        return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-acknowledgement", message=message))


def _dropped(first: int, last: int) -> LanemeshError:
    message = (
        f"updates {first} to {last} were dropped, because the client did not read for too long. Read the run while it goes on, or "
        "start it detached"
    )
    return LanemeshError(Fault(code=Code.DATA_LOSS, reason="updates-dropped", message=message))


def _half_closed(given_to: int) -> LanemeshError:
    message = (
        "the client half-closed its call or disconnected, so that it cannot acknowledge, and the window is used up at update "
        f"{given_to}. Half-close after the terminal update; `end_input` ends the input before"
    )
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="half-closed", message=message))
