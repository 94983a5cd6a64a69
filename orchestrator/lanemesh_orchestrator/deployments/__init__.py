"""Deployed pipelines: kept ready under a name and version, and started by it."""
