"""An MCP server for call_tools.pipe, by the official library. It serves on its standard input and output."""

from __future__ import annotations

from mcp.server import MCPServer

_TIDES = {"port ellen": ["03:10", "15:35"], "oslo": ["06:45", "19:05"]}

server = MCPServer("tides", log_level="ERROR")


@server.tool()
def high_tides(harbour: str) -> list[str]:
    """Today's high tides in a harbour."""
    if harbour.lower() not in _TIDES:
        raise LookupError(f"no tides of {harbour}; there are those of {', '.join(_TIDES)}")
    return _TIDES[harbour.lower()]


if __name__ == "__main__":
    server.run()
