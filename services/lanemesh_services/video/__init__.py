"""The `video` service: frames of videos, videos of frames, and what joins media."""

from __future__ import annotations

from lanemesh import Service

SERVICE = Service("video", [])
