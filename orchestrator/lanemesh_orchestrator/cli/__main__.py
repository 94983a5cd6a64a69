"""`python -m lanemesh_orchestrator.cli`: the same as `lanemesh`."""

from lanemesh_orchestrator.cli import app

app()
