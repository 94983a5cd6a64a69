"""The `speech` service: finds, transcribes, speaks and converts speech."""

from __future__ import annotations

from lanemesh import Service

SERVICE = Service("speech", [])
