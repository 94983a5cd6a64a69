"""The `documents` service: reads, splits, summarises and anonymises documents."""

from __future__ import annotations

from lanemesh import Service

SERVICE = Service("documents", [])
