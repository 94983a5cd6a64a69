"""Errors for people: one paragraph with what, where and what to do next; tracebacks only with `--debug`."""

from __future__ import annotations

import logging
import re
import shutil
import sys
import textwrap
import traceback
from typing import TYPE_CHECKING

from lanemesh_orchestrator.cli.exits import NOTHING_DELIVERED, CommandError, ExitCode, InvalidPipeline, RunFailed
from lanemesh_orchestrator.cli.output.streams import styled
from lanemesh_orchestrator.cli.output.visible import visible

if TYPE_CHECKING:
    from lanemesh.faults import Fault

ORCHESTRATOR = "orchestrator"
"""Name of the server that the orchestrator itself is, in faults."""
MISSING = frozenset({"engine-missing", "framework-missing", "library-missing", "mcp-missing", "model-missing"})
"""Reasons of faults of libraries and models that are missing. They end a run before any node works, so the message alone is
printed."""
REPORT = "This is a bug in Lanemesh. Run it again with --debug for the traceback, and please report it."


def report(error: Exception, *, debug: bool = False) -> ExitCode:
    """Prints an error on standard error and returns its exit code."""
    text, code = describe(error)
    if debug and not isinstance(error, InvalidPipeline | RunFailed):
        print("".join(traceback.format_exception(error)), file=sys.stderr, end="")
    elif isinstance(error, RunFailed) and debug and error.fault.details:
        text += "\n  " + " · ".join(f"{key}={value}" for key, value in sorted(error.fault.details.items()))
    if not isinstance(error, InvalidPipeline):  # whose text has colours
        text = visible(text)
    prefix = "" if isinstance(error, InvalidPipeline) else "error: "
    if prefix and styled(sys.stderr):
        prefix = "\x1b[1;31merror:\x1b[0m "
    print(f"{prefix}{text}", file=sys.stderr)
    return code


def describe(error: Exception) -> tuple[str, ExitCode]:
    """The text of an error for people, and its exit code."""
    if isinstance(error, InvalidPipeline):
        from lanemesh_orchestrator.cli.output.faults import render_faults

        width = shutil.get_terminal_size((100, 24)).columns
        return render_faults(error.name, error.text, error.faults, width=width, styled=styled(sys.stderr)), error.code
    if isinstance(error, RunFailed):
        if error.fault.reason in MISSING and error.delivered == NOTHING_DELIVERED:
            return _head(error.fault, embedded=error.embedded), error.code
        more = (
            "" if logging.getLogger().isEnabledFor(logging.DEBUG) else " --log-level debug shows the steps before it."
        )
        return f"{render_failure(error.fault, error.delivered, embedded=error.embedded)}{more}", error.code
    if isinstance(error, CommandError):
        return str(error), error.code
    fault: Fault | None = getattr(error, "fault", None)
    if fault is not None:
        from lanemesh.faults import Code

        is_usage = fault.code in (Code.INVALID_ARGUMENT, Code.NOT_FOUND)
        return render_fault(fault), ExitCode.INVALID if is_usage else ExitCode.FAILED
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}.", ExitCode.FAILED
    return f"{type(error).__name__}: {error} ({_place(error)}). {REPORT}", ExitCode.FAILED


def render_fault(fault: Fault) -> str:
    """A fault outside of a run."""
    return fault.message + _frames(fault)


def render_failure(fault: Fault, delivered: str, *, embedded: bool = False) -> str:
    """The first cause of a failed run: component, node type, server, the exception with the user's own frames; what was delivered
    before. The server is left out of a run that was `embedded` in this process."""
    return f"{_head(fault, embedded=embedded)}{_frames(fault)}\n{delivered}"


def _head(fault: Fault, *, embedded: bool) -> str:
    details = fault.details
    component, server = details.get("component", ""), details.get("server", "")
    about = [details["provider"]] if "provider" in details else []
    if server and not embedded:
        about.append(f"{'in' if server == ORCHESTRATOR else 'on'} {server}")
    where = f"{component} ({', '.join(about)})" if about else component
    return f"{where if component else 'The run'} failed: {_message(fault, component)}"


def _message(fault: Fault, component: str) -> str:
    """The message of a fault, without the component if our own text names it: it has just been named."""
    message = fault.message
    if not component or "exception" in fault.details:
        return message
    for prefix, instead in (
        (f"{component} ({fault.details.get('provider')}): ", ""),
        (f"{component}: ", ""),
        (f"{component} ", "it "),
    ):
        if message.startswith(prefix):
            return instead + message.removeprefix(prefix)
    return re.sub(rf"(?<![\w.]){re.escape(component)}\.(?=\w)", "", message, count=1)


def _frames(fault: Fault) -> str:
    """The user's frames of the traceback, indented, without its last lines, which are in the message."""
    if not fault.traceback:
        return ""
    lines = fault.traceback.rstrip().splitlines()
    last = max((number for number, line in enumerate(lines) if line.startswith("  ")), default=-1)
    shown = [line for line in lines[: last + 1] if not line.startswith("Traceback (most recent call last)")]
    return "\n" + textwrap.indent(textwrap.dedent("\n".join(shown)), "  ") if shown else ""


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"at {frames[-1].filename}:{frames[-1].lineno}" if frames else "at an unknown place"
