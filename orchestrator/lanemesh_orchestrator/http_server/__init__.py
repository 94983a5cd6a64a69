"""HTTP servers of this package: what those of MCP clients, A2A clients and the web share."""
