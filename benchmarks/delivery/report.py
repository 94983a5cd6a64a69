"""The verdicts and tables of what clients get. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from chain.report import Verdict
from delivery import detached, paced, stalled, starts, throughput
from delivery.systems import COMPARED

BUDGET_MIB = 256
"""What the updates of all runs of an orchestrator without a store may occupy."""


def of_throughput(rows: Sequence[throughput.Row]) -> list[Verdict]:
    """Shares of the peers' items a second."""
    least = {each.name: each.least for each in COMPARED}
    return [
        Verdict(
            what=f"{row.system} against {row.peer}, items/s", value=row.ratio, bound=least[row.system], at_least=True
        )
        for row in rows
        if row.system in least
    ]


def of_paced(rows: Sequence[paced.Row]) -> list[Verdict]:
    """Latency against that of the hand-written chain."""
    what = f"{{}} against {paced.PEER}, an item every {paced.INTERVAL_S * 1e3:g} ms, p50"
    return [_at_most(what.format(row.system), row.ratio, 1.5) for row in rows if row.system == "client"]


def of_stalls(stalls: Sequence[stalled.Stall]) -> list[Verdict]:
    """Growth, and whether the source stopped, of the systems of Lanemesh."""
    verdicts: list[Verdict] = []
    for stall in stalls:
        if not stall.system.startswith("bare"):
            what = f"{stall.system}, its client stops reading:"
            verdicts += [
                _at_most(f"{what} most growth of a process", stall.most_grown_mib, 2, "MiB"),
                _at_most(f"{what} items made in the second half", stall.still_emitted, 0, "items"),
            ]
    return verdicts


def of_starts(rows: Sequence[starts.Row], rates: Sequence[starts.Rate]) -> list[Verdict]:
    """Starts of a deployed pipeline."""
    verdicts: list[Verdict] = []
    for row in rows:
        if row.system != "deployed":
            continue
        if row.at_once == 1:
            verdicts += [
                _at_most("deployed run of five nodes: start to running, p50", row.running_p50_ms, 3, "ms"),
                _at_most("deployed run of five nodes: start to running, p99", row.running_p99_ms, 8, "ms"),
            ]
        if row.at_once == 200:
            verdicts += [
                _at_most("200 deployed runs at once: start to running, p50", row.running_p50_ms, 500, "ms"),
                _at_most("200 deployed runs at once: the first ten running", row.running_tenth_ms, 30, "ms"),
            ]
        what = f"deployed, {row.at_once} at once: first item against bare streams, p50"
        verdicts.append(_at_most(what, row.first_ratio, 1.5))
    return verdicts + [
        Verdict(
            what="deployed runs started and ended a second", value=rate.runs_per_s, bound=300, at_least=True, unit="/s"
        )
        for rate in rates
        if rate.system == "deployed"
    ]


def of_detached(left: detached.Left) -> Verdict:
    """The orchestrator's growth against its budget."""
    what = f"{left.runs} detached runs of {left.outputs:,} outputs, no store: growth of the orchestrator"
    return _at_most(what, left.grown_mib, BUDGET_MIB, "MiB")


def throughput_table(rows: Sequence[throughput.Row]) -> Table:
    """The table of items a second."""
    table = _table("source, upper-case, count, client; every item reaches the client; medians of the rounds", "system")
    for heading in ("items/s", "CPU µs an item", "against", "ratio"):
        table.add_column(heading, justify="right")
    for row in rows:
        ratio = f"{row.ratio:.3f} x" if row.peer else ""
        table.add_row(row.system, f"{row.items_per_s:,.0f}", f"{row.cpu_us_per_item:,.1f}", row.peer, ratio)
    return table


def paced_table(rows: Sequence[paced.Row]) -> Table:
    """The table of latencies."""
    table = _table(f"an item every {paced.INTERVAL_S * 1e3:g} ms; medians of the rounds", "system")
    for heading in ("p50 ms", "p99 ms", f"p50 against {paced.PEER}"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(row.system, f"{row.p50_ms:.2f}", f"{row.p99_ms:.2f}", f"{row.ratio:.2f} x")
    return table


def stalls_table(stalls: Sequence[stalled.Stall], seconds: float) -> Table:
    """The table of clients that stop reading."""
    table = _table(f"the client reads {stalled.READ:,} items and then none for {seconds:g} s", "system")
    for heading in ("growth of each process, MiB", "items ahead", "made in 2nd half"):
        table.add_column(heading, justify="right")
    for stall in stalls:
        grown = ", ".join(f"{name} {mib:+.1f}" for name, mib in stall.grown_mib.items())
        table.add_row(stall.system, grown, f"{stall.ahead:,}", f"{stall.still_emitted:,}")
    return table


def starts_table(rows: Sequence[starts.Row]) -> Table:
    """The table of starts."""
    table = _table(
        "runs of five nodes on three servers; ms from the start by the client; medians of the rounds", "runs"
    )
    for heading in ("at once", "running p50", "p99", "tenth", "first item p50", "p99", "against bare"):
        table.add_column(heading, justify="right")
    for row in rows:
        running = (row.running_p50_ms, row.running_p99_ms, row.running_tenth_ms)
        table.add_row(
            row.system,
            str(row.at_once),
            *(f"{ms:.1f}" if any(running) else "" for ms in running),
            f"{row.first_p50_ms:.1f}",
            f"{row.first_p99_ms:.1f}",
            f"{row.first_ratio:.2f} x",
        )
    return table


def rates_table(rates: Sequence[starts.Rate]) -> Table:
    """The table of starts a second."""
    table = _table(f"runs started and ended by {starts.CALLERS} callers", "runs")
    for heading in ("a second", "CPU ms a run"):
        table.add_column(heading, justify="right")
    for rate in rates:
        table.add_row(rate.system, f"{rate.runs_per_s:.0f}", f"{rate.cpu_ms_per_run:.1f}")
    return table


def _table(title: str, first: str) -> Table:
    table = Table(title=title)
    table.add_column(first)
    return table


def _at_most(what: str, value: float, bound: float, unit: str = "x") -> Verdict:
    return Verdict(what=what, value=value, bound=bound, at_least=False, unit=unit)
