"""How commands end: the exit codes, and the errors that carry one."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lanemesh.faults import Fault
    from lanemesh.pipeline_faults import PipelineFault


class ExitCode(IntEnum):
    """The exit codes of every command."""

    COMPLETED = 0
    """The command succeeded. Also used if the reader of standard output closed it."""
    FAILED = 1
    """A run failed, or something that a command needs is not there."""
    INVALID = 2
    """The pipeline is invalid, or the command line is."""
    INTERRUPTED = 130
    """Ctrl-C."""


class CommandError(Exception):
    """The error of a command, in one paragraph: what, where and what to do next."""

    def __init__(self, message: str, code: ExitCode = ExitCode.INVALID) -> None:
        super().__init__(message)
        self.code = code


class InvalidPipeline(CommandError):
    """A pipeline with faults."""

    def __init__(self, name: str, text: str, faults: Sequence[PipelineFault]) -> None:
        super().__init__(f"{name} is invalid")
        self.name = name
        """Its file, as the user wrote it."""
        self.text = text
        """The document."""
        self.faults = faults
        """Every fault of it."""


NOTHING_DELIVERED = "Nothing was delivered before that."
"""What is printed after the cause of a run that failed without an output."""


class RunFailed(CommandError):
    """A run that failed."""

    def __init__(self, fault: Fault, delivered: str, *, embedded: bool = False) -> None:
        super().__init__(fault.message, ExitCode.FAILED)
        self.fault = fault
        """The first primary cause."""
        self.delivered = delivered
        """A description of the outputs that were delivered before."""
        self.embedded = embedded
        """It ran in this process."""
