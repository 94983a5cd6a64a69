"""The `pictures` service: reads, converts, classifies and generates images."""

from __future__ import annotations

from lanemesh import Service

SERVICE = Service("pictures", [])
