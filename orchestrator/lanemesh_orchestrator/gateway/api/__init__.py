"""The HTTP API under /v1: runs, deployments, node types, servers and channels."""
