"""The parts of runs that the driver places on the server under test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lanemesh.protocol import PROTOCOL_VERSION
from lanemesh.v1 import lane_pb2, node_pb2

DRIVER = "driver"
"""The name of the driver's node server."""
TESTED = "tested"
"""The name of the server under test."""
BEFORE = "before"
"""The driver's component that feeds the one under test."""
AFTER = "after"
"""The driver's component that takes from the one under test."""
NODE = "node"
"""The component under test."""
TEXT = lane_pb2.LANE_TYPE_TEXT
NODE_ERROR = "node-error"
"""The reason of the faults with which the driver's own nodes end their lanes."""
LIMIT = 64
"""The limit of the driver's lanes in items, unless a check sets another one."""
LIMIT_BYTES = 1024 * 1024


def instance(
    provider: str, component: str = NODE, config: Mapping[str, Any] | None = None, **fields: Any
) -> node_pb2.Instance:
    """One component."""
    return node_pb2.Instance(component=component, provider=provider, config_json=json.dumps(config or {}), **fields)


def edge_in(
    address: str, *, component: str = NODE, port: str = "text", limit: int = LIMIT, **fields: Any
) -> node_pb2.Edge:
    """An edge from the driver to a component at this address."""
    return node_pb2.Edge(
        **{
            "id": f"{BEFORE}.out>{component}.{port}",
            "producer": BEFORE,
            "output": "out",
            "consumer": component,
            "input": port,
            "lane_type": TEXT,
            "limit_items": limit,
            "limit_bytes": LIMIT_BYTES,
            "producer_server": DRIVER,
            "consumer_server": TESTED,
            "consumer_address": address,
            **fields,
        }
    )


def edge_out(
    address: str, *, component: str = NODE, port: str = "out", limit: int = LIMIT, **fields: Any
) -> node_pb2.Edge:
    """An edge from a component to the driver at this address."""
    return node_pb2.Edge(
        **{
            "id": f"{component}.{port}>{AFTER}.text",
            "producer": component,
            "output": port,
            "consumer": AFTER,
            "input": "text",
            "lane_type": TEXT,
            "limit_items": limit,
            "limit_bytes": LIMIT_BYTES,
            "producer_server": TESTED,
            "consumer_server": DRIVER,
            "consumer_address": address,
            **fields,
        }
    )


def place(run_id: str, *parts: node_pb2.Instance | node_pb2.Edge, **fields: Any) -> node_pb2.Place:
    """The frame that places instances and edges."""
    return node_pb2.Place(
        run_id=run_id,
        protocol_version=PROTOCOL_VERSION,
        server=TESTED,
        instances=[part for part in parts if isinstance(part, node_pb2.Instance)],
        edges=[part for part in parts if isinstance(part, node_pb2.Edge)],
        **fields,
    )


def opening(run_id: str, edge: node_pb2.Edge, **fields: Any) -> lane_pb2.LaneOpen:
    """The frame that opens the lane of an edge."""
    return lane_pb2.LaneOpen(
        **{
            "run_id": run_id,
            "edge_id": edge.id,
            "lane_type": edge.lane_type,
            "protocol_version": PROTOCOL_VERSION,
            "incarnation": edge.incarnation,
            **fields,
        }
    )
