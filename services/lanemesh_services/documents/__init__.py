"""The `documents` service: reads, splits, summarises and anonymises documents."""

from __future__ import annotations

from lanemesh import Service

from lanemesh_services.documents.parse import Parse

SERVICE = Service("documents", [Parse])
