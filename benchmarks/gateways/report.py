"""The verdicts and the table of the gateway. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from chain.report import Verdict
from gateways.delivery import STREAMS, Found
from gateways.idle import KINDS, Growth

IDLE = 1_000
"""The number of idle clients that the bounds are for."""


def of_delivery(found: Found) -> list[Verdict]:
    """SSE against the gRPC client."""
    return [
        Verdict(
            what="first output through SSE after that of the gRPC client, p50",
            value=found.first_later_ms,
            bound=1.5,
            at_least=False,
            unit="ms",
        ),
        Verdict(
            what=f"{STREAMS} streams at once: items/s through SSE against the gRPC client",
            value=found.share,
            bound=0.5,
            at_least=True,
        ),
    ]


def of_idle(growths: Sequence[Growth]) -> list[Verdict]:
    """The growth of the gateway, against the bound of so many clients."""
    return [
        Verdict(
            what=f"growth of the gateway by {one.clients:,} idle {one.kind}",
            value=one.mb,
            bound=KINDS[one.kind].bound_mb * one.clients / IDLE,
            at_least=False,
            unit="MB",
        )
        for one in growths
    ]


def delivery_table(found: Found) -> Table:
    """The table of what clients get. The bare relay is the least that an endpoint of server-sent events costs."""
    table = Table(title="a deployed run of five nodes on three servers; every item reaches the client")
    table.add_column("client")
    headings = (
        "first output p50 ms",
        "p99",
        "after the gRPC client, p50",
        "CPU ms between",
        f"{STREAMS} streams, items/s",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in found.rows:
        table.add_row(
            *(row.front, f"{row.first_p50_ms:.2f}", f"{row.first_p99_ms:.2f}", f"{row.later_ms:.2f}"),
            f"{row.between_cpu_ms:.2f}" if row.between_cpu_ms is not None else "",
            f"{row.items_per_s:,.0f}" if row.items_per_s is not None else "",
        )
    return table
