"""The errors of MCP servers as tools. Each message has what, where and what to do next."""

from __future__ import annotations

from lanemesh import Code, Fault, LanemeshError


def library_missing(error: ImportError) -> LanemeshError:
    """The library of MCP is not installed, or cannot be imported."""
    message = (
        f"tool_mcp needs the Python library mcp, which cannot be imported ({error}); "
        "install it with: pip install 'lanemesh[mcp]'"
    )
    return _error(Code.FAILED_PRECONDITION, "mcp-missing", message)


def bad_config(why: str, hint: str) -> LanemeshError:
    """The config names no server, or two."""
    return _error(Code.INVALID_ARGUMENT, "bad-mcp-config", f"tool_mcp cannot use its config: {why}. {hint}")


def not_started(server: str, why: str) -> LanemeshError:
    """The command of a server cannot be started."""
    message = f"the MCP server {server} cannot be started: {why}. Correct config.command, or install the program"
    return _error(Code.FAILED_PRECONDITION, "mcp-not-started", message)


def no_answer(server: str, seconds: float, last_words: str) -> LanemeshError:
    """A server did not answer the first request in time."""
    message = (
        f"the MCP server {server} did not answer within {seconds:g} s of its start. Check that it is an MCP server, or raise "
        f"config.start_timeout{last_words}"
    )
    return _error(Code.DEADLINE_EXCEEDED, "mcp-no-answer", message)


def refused(server: str, why: str) -> LanemeshError:
    """A server at a URL cannot be reached, or rejects the first request."""
    message = f"the MCP server {server} cannot be used: {why}. Check config.url, config.headers and its log"
    return _error(Code.UNAVAILABLE, "mcp-refused", message)


def command_refused(server: str, why: str, last_words: str) -> LanemeshError:
    """A server that was started by a command ended, or rejects the first request."""
    message = f"the MCP server {server} cannot be used: {why}. Check config.command and config.env{last_words}"
    return _error(Code.UNAVAILABLE, "mcp-refused", message)


def ended(server: str, why: str, last_words: str = "") -> LanemeshError:
    """A server ended, or the connection to it broke."""
    message = f"the MCP server {server} ended: {why}. The next call starts it again{last_words}"
    return _error(Code.UNAVAILABLE, "mcp-ended", message)


def timed_out(server: str, tool: str, seconds: float) -> LanemeshError:
    """A call took too long."""
    message = (
        f"the tool {tool} of the MCP server {server} did not end within {seconds:g} s, and was cancelled. Raise "
        "config.call_timeout if it needs longer"
    )
    return _error(Code.DEADLINE_EXCEEDED, "mcp-timeout", message)


def too_many_tools(server: str, limit: int) -> LanemeshError:
    """A server lists more tools than a model can use."""
    message = (
        f"the MCP server {server} lists more than {limit:,} tools. Name those that are wanted in config.tools, such as "
        '["search", "fetch"]'
    )
    return _error(Code.RESOURCE_EXHAUSTED, "mcp-too-many-tools", message)


def tools_missing(server: str, missing: list[str], known: list[str]) -> LanemeshError:
    """A server lacks tools that the config names."""
    shown = ", ".join(known[:20]) or "none"
    message = f"the MCP server {server} has no tool {', '.join(missing)}; its tools: {shown}. Correct config.tools"
    return _error(Code.NOT_FOUND, "unknown-tool", message)


def bad_answer(server: str, what: str, why: str) -> LanemeshError:
    """A server sent something that is not MCP."""
    message = f"the MCP server {server} answered {what} with something that is not MCP: {why}. Report it to its author"
    return _error(Code.INTERNAL, "mcp-bad-answer", message)


def _error(code: Code, reason: str, message: str) -> LanemeshError:
    return LanemeshError(Fault(code=code, reason=reason, message=message))
