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

    BAD_TOOL_SETTING = "bad-tool-setting"
    """A setting of a tool node cannot be used."""
    HOST_NOT_ALLOWED = "host-not-allowed"
    """A tool was asked to connect to a host that its settings or its node server do not allow."""
    HTTP_ERROR = "http-error"
    """A request of a tool to an HTTP server failed."""
    LIBRARY_MISSING = "library-missing"
    """The library that a tool node needs is not installed."""
    METHOD_NOT_ALLOWED = "method-not-allowed"
    """A tool was asked for an HTTP method that its settings do not allow."""
    UNKNOWN_HOST = "unknown-host"
    """The name of a host cannot be resolved."""
    BAD_TOOL_FILE = "bad-tool-file"
    """A file of tools cannot be imported, or defines none."""
    BAD_MCP_CONFIG = "bad-mcp-config"
    """The config of an MCP server names none, or two."""
    MCP_BAD_ANSWER = "mcp-bad-answer"
    """An MCP server sent something that is not MCP."""
    MCP_ENDED = "mcp-ended"
    """An MCP server ended during a call, or the connection to it broke."""
    MCP_MISSING = "mcp-missing"
    """The library of MCP is not installed."""
    MCP_NO_ANSWER = "mcp-no-answer"
    """An MCP server did not answer its first request in time."""
    MCP_NOT_STARTED = "mcp-not-started"
    """The command of an MCP server cannot be started."""
    MCP_REFUSED = "mcp-refused"
    """An MCP server cannot be reached, or rejects the first request."""
    MCP_TIMEOUT = "mcp-timeout"
    """A call of an MCP tool took too long, and was cancelled."""
    MCP_TOO_MANY_TOOLS = "mcp-too-many-tools"
    """An MCP server lists more tools than a model can use."""

    # Text

    OBJECT_TOO_LONG = "object-too-long"
    """A JSON object in a stream of text is longer than its limit."""
