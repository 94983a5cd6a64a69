"""The `flow` service: routes, filters, batches and paces items."""

from __future__ import annotations

from lanemesh import Service

SERVICE = Service("flow", [])
