"""The `documents` service: reads, splits, summarises and anonymises documents."""

from __future__ import annotations

from lanemesh import Service

from lanemesh_services.documents.parse import Parse
from lanemesh_services.documents.splitter import Splitter

SERVICE = Service("documents", [Parse, Splitter])
