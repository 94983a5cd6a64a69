"""An MCP server that offers what a mesh has: its deployed pipelines are tools of MCP clients.

It is a client of an orchestrator, and has no state of its own that a call depends on: several of them may serve one mesh.
"""
