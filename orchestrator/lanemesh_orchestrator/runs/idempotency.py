"""Idempotency keys: a request that is sent again returns the run that its first copy has started."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lanemesh.faults import Code, Fault, LanemeshError

if TYPE_CHECKING:
    from lanemesh.v1 import run_pb2

    from lanemesh_orchestrator.runs.active_run import ActiveRun

MAX_KEY = 128
"""Longest key, in characters."""


@dataclass(frozen=True, slots=True)
class Key:
    """The key of a request, and what the request is."""

    text: str
    """The key."""
    digest: bytes
    """Of its pipeline, options and inputs, so that no secret is kept."""


class IdempotencyKeys:
    """The keys of the detached runs that an orchestrator keeps: there are never more keys than runs."""

    def __init__(self) -> None:
        self._runs: dict[str, tuple[bytes, ActiveRun]] = {}
        self._keys: dict[str, str] = {}

    def keyed(
        self,
        text: str,
        spec: run_pb2.RunSpec,
        inputs: Sequence[run_pb2.RunInput],
        timeout: float | None = None,
        *,
        open_input: bool,
    ) -> tuple[Key, ActiveRun | None]:
        """The key of a request, and the run that was started with it; None if there is none.

        Args:
            text: the key.
            spec: its pipeline and options.
            inputs: its inputs.
            timeout: the timeout of its run in seconds, if `spec` does not have it.
            open_input: whether further inputs follow.

        Raises:
            LanemeshError: it is longer than 128 characters, or some are not printable ("bad-idempotency-key"); or its run was
                started with another pipeline, options or inputs ("idempotency-conflict").
        """
        if len(text) > MAX_KEY or not text.isprintable():
            raise LanemeshError(_bad(f"an idempotency key has 1 to {MAX_KEY} printable characters. Send another one"))
        digest = hashlib.sha256(f"{timeout} {open_input}".encode())
        for message in (spec, *inputs):
            encoded = message.SerializeToString(deterministic=True)
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
        key = Key(text, digest.digest())
        return key, self.find(key)

    def find(self, key: Key) -> ActiveRun | None:
        """The run that was started with a key; None if there is none.

        Raises:
            LanemeshError: it was started with another pipeline, options or inputs ("idempotency-conflict").
        """
        found = self._runs.get(key.text)
        if found is None:
            return None
        digest, run = found
        if digest != key.digest:
            message = (
                f"the idempotency key is that of run {run.id}, which has another pipeline, other options or another input. Use a "
                "new key for each request"
            )
            raise LanemeshError(Fault(code=Code.ALREADY_EXISTS, reason="idempotency-conflict", message=message))
        return run

    def add(self, key: Key, run: ActiveRun) -> None:
        """A run was started with a key that is not used."""
        self._runs[key.text] = (key.digest, run)
        self._keys[run.id] = key.text

    def forget(self, run_id: str) -> None:
        """A run is no longer kept."""
        text = self._keys.pop(run_id, None)
        if text is not None:
            del self._runs[text]


def not_detached() -> Fault:
    """The fault of a key of a run that its caller owns."""
    return _bad("a run that its caller owns cannot have an idempotency key. Start it as a detached run")


def _bad(message: str) -> Fault:
    return Fault(code=Code.INVALID_ARGUMENT, reason="bad-idempotency-key", message=message)
