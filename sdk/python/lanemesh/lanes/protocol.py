"""Constants of the wire protocol."""

from __future__ import annotations

PROTOCOL_VERSION = 1
"""The version of the wire protocol, sent in `Register`, `Host` and `open`."""
IDLE_FRAME_SECONDS = 20.0
"""Idleness after which a long-lived stream carries an empty frame, since proxies cut silent streams."""
