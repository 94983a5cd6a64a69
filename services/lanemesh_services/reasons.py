"""The reasons of the faults that the bundled services report."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Machine-readable reasons, as in `Fault.reason` and `google.rpc.ErrorInfo`."""

    # Models

    ENGINE_CLOSED = "engine-closed"
    """The engine of a model was closed during a call."""
    ENGINE_MISSING = "engine-missing"
    """The library that runs a model is not installed."""
    ENGINE_UNUSABLE = "engine-unusable"
    """The library of an engine is installed, but cannot be imported."""
    GENERATION_FAILED = "generation-failed"
    """A model failed during a generation."""
    GENERATION_REFUSED = "generation-refused"
    """A model does not support the request."""
    MODEL_INSTALL_FAILED = "model-install-failed"
    """A model could not be installed."""
    MODEL_MISSING = "model-missing"
    """The file of a model is missing."""
    MODEL_TOO_LARGE = "model-too-large"
    """A model needs more memory than is available."""
    MODEL_UNUSABLE = "model-unusable"
    """The file of a model cannot be used."""
    CACHE_UNUSABLE = "cache-unusable"
    """The folder for prepared models cannot be created or written."""
    NO_TEMP_FOLDER = "no-temp-folder"
    """An engine cannot make its socket in the folder for temporary files."""

    # Tools

    BAD_ARGUMENTS = "bad-arguments"
    """A tool was called with invalid arguments."""
    BAD_RESULT = "bad-result"
    """A tool returned a value that is not JSON."""
    BAD_TOOL_FILE = "bad-tool-file"
    """A file of tools cannot be imported, or defines none."""
    BAD_TOOL_FUNCTION = "bad-tool-function"
    """A function cannot be offered as a tool."""
    UNKNOWN_TOOL = "unknown-tool"
    """A file of tools has no tool with this name."""

    # Memories

    BAD_DATABASE = "bad-database"
    """The file or the URL of a memory's database is invalid."""
    DATABASE_UNUSABLE = "database-unusable"
    """The database of a memory cannot be opened, read or written."""
    MEMORY_FULL = "memory-full"
    """A memory has reached one of its limits."""
    SCOPE_NOT_KEPT = "scope-not-kept"
    """A memory in the process of its server was asked to store a value permanently."""

    # Text

    OBJECT_TOO_LONG = "object-too-long"
    """A JSON object in a stream of text is longer than its limit."""
