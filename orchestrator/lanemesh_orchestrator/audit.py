"""The audit log: who ran, deployed, cancelled, decided and deleted what. One JSON object a line, for each act of a client."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import grpc.aio
from grpc_status import rpc_status
from lanemesh._grpc.caller import current_caller
from lanemesh._grpc.status import abort
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.pipeline_faults import PipelineInvalid

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Size from which the file is renamed and a new one begins: 16 MiB."""
MAX_OLD_FILES = 4
"""Renamed files that are kept: FILE.1 is the newest."""
MAX_TEXT = 200
"""Most characters of each field, since clients choose names."""

audit_log = logging.getLogger("lanemesh.audit")
"""Gets a line for each act, at level INFO. It takes none before its level is lowered to that."""
audit_log.setLevel(logging.WARNING)
logger = logging.getLogger("lanemesh.orchestrator")


@dataclass(slots=True)
class Act:
    """An act that is going on; its fields are written when it has ended or failed."""

    fields: dict[str, str | int | bool] = field(default_factory=dict)
    """What it is about, such as "run" and "deployment": names and ids, never contents or secrets."""


@asynccontextmanager
async def audited(
    context: grpc.aio.ServicerContext[Any, Any], method: str, **about: str | int | bool
) -> AsyncIterator[Act]:
    """Writes a line about the act in the block when it ends, before its caller gets the outcome: "OK", or the name of a code. An
    error of the block ends the call with its fault.

    Args:
        context: the call.
        method: such as "RunService.StartRun".
        about: its first fields; empty texts are left out.
    """
    act = Act(dict(about))
    try:
        yield act
    except LanemeshError as error:
        code = error.fault.code or Code.UNKNOWN
        _write(context, method, act, code.name, error.fault.reason)
        if isinstance(error, PipelineInvalid):
            await context.abort_with_status(rpc_status.to_status(error.to_status()))
        await abort(context, error.fault)
    except asyncio.CancelledError:
        _write(context, method, act, Code.CANCELLED.name)
        raise
    except Exception:
        _write(context, method, act, Code.UNKNOWN.name)
        raise
    _write(context, method, act, "OK")


def masked(secret: str) -> str:
    """What stands for an id that others must not know, such as that of a session: the same for the same id."""
    return f"sha256:{hashlib.sha256(secret.encode()).hexdigest()[:16]}" if secret else ""


def _write(context: grpc.aio.ServicerContext[Any, Any], method: str, act: Act, outcome: str, reason: str = "") -> None:
    if not audit_log.isEnabledFor(logging.INFO):
        return
    line: dict[str, str | int | bool] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "caller": current_caller(),
        "peer": context.peer() or "",
        "method": method,
        **{name: value for name, value in act.fields.items() if value != ""},
        "outcome": outcome,
        **({"reason": reason} if reason else {}),
    }
    audit_log.info("%s", json.dumps({name: _bounded(value) for name, value in line.items()}))


def _bounded(value: str | int | bool) -> str | int | bool:
    is_long = isinstance(value, str) and len(value) > MAX_TEXT
    return f"{str(value)[:MAX_TEXT]}..." if is_long else value


class AuditFile(RotatingFileHandler):
    """Appends lines to a file that only its owner reads; at most 80 MiB with the renamed ones. If it cannot be written, that is
    logged once, and the acts go on."""

    def __init__(self, path: Path) -> None:
        """Raises LanemeshError if the file cannot be opened."""
        self._has_failed = False
        try:
            super().__init__(path, maxBytes=MAX_FILE_BYTES, backupCount=MAX_OLD_FILES, encoding="utf-8")
        except OSError as error:
            message = (
                f"the audit log {path} cannot be written: {error.strerror or error}. Choose another --audit-log FILE"
            )
            raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="bad-audit-log", message=message)) from None
        self.setFormatter(logging.Formatter("%(message)s"))

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return open(descriptor, "a", encoding="utf-8")

    def handleError(self, record: logging.LogRecord) -> None:
        """Logs the first failure, in place of a traceback for each."""
        if not self._has_failed:
            self._has_failed = True
            logger.error(
                "the audit log %s cannot be written; acts are missing in it from now on",
                self.baseFilename,
                exc_info=True,
            )


def write_audit_log(path: Path) -> None:
    """Appends the acts of clients to a file, from now on.

    Raises:
        LanemeshError: the file cannot be written ("bad-audit-log").
    """
    handler = AuditFile(path)
    for earlier in [one for one in audit_log.handlers if isinstance(one, AuditFile)]:
        audit_log.removeHandler(earlier)
        earlier.close()
    audit_log.addHandler(handler)
    audit_log.setLevel(logging.INFO)
    audit_log.propagate = False
