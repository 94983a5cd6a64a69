"""Constants of the wire protocol."""

from __future__ import annotations

PROTOCOL_VERSION = 1
"""The version of the wire protocol, sent in `Describe`, `Register`, `Place` and `LaneOpen` for people; peers compare features."""
IDLE_FRAME_SECONDS = 20.0
"""Idleness after which a long-lived stream carries an empty frame, since proxies cut silent streams."""
UNSAID_SECONDS = 25.0
"""How long the end of a lane that broke waits for the report that the server of the other end is lost: a frozen server is detected
within 20 s. For the lanes of recoverable components only."""
DETACHED_SECONDS = 660.0
"""How long it waits after that report for the component to be placed again; models may load in this time."""


def control_edge_id(invoker: str, helper: str, class_type: str, name: str) -> str:
    """The id of a control connection, as its `EdgeShape` and its `TraceUpdate`s have it; `name` is what the helper is called by."""
    return f"{invoker}>{helper}:{class_type}" + (f"/{name}" if name else "")
