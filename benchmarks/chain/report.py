"""From samples to rows, from rows to verdicts, and how both are printed. Pure, but for the printing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from rich.console import Console
from rich.table import Table

from chain.misses import miss_of
from chain.systems import Sample, percentile
from chain.work import MEBIBYTE


@dataclass(frozen=True, kw_only=True)
class Row:
    """The medians of a system's rounds."""

    system: str
    items_per_s: float
    first_item_ms_p50: float
    first_item_ms_p99: float
    paced_ms_p50: float
    paced_ms_p99: float
    media_mib_per_s: float | None
    """None for a system that moves no media."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One target, and the value that met or missed it."""

    what: str
    value: float
    bound: float
    at_least: bool
    """True if the value has to reach the bound, False if it may not exceed it."""
    unit: str = "x"

    @property
    def met(self) -> bool:
        """Whether the target holds."""
        return self._reaches(self.bound)

    @property
    def documented(self) -> bool:
        """Whether the target is missed as docs/decisions.md explains, by no more than there."""
        miss = miss_of(self.what)
        return not self.met and miss is not None and self._reaches(miss.held)

    def _reaches(self, bound: float) -> bool:
        return self.value >= bound if self.at_least else self.value <= bound


def row(system: str, samples: Sequence[Sample], media: Sequence[float] = ()) -> Row:
    """One row: of each round its percentiles, of the rounds the median. `media` is in bytes per second."""
    return Row(
        system=system,
        items_per_s=median(s.items_per_s for s in samples),
        first_item_ms_p50=median(percentile(s.first_item_ms, 0.5) for s in samples),
        first_item_ms_p99=median(percentile(s.first_item_ms, 0.99) for s in samples),
        paced_ms_p50=median(percentile(s.paced_ms, 0.5) for s in samples),
        paced_ms_p99=median(percentile(s.paced_ms, 0.99) for s in samples),
        media_mib_per_s=median(media) / MEBIBYTE if media else None,
    )


def judge(rows: Mapping[str, Row]) -> list[Verdict]:
    """The targets of the lanes, of those whose rows are there."""
    verdicts: list[Verdict] = []
    spread, embedded = rows.get("lanemesh-spread"), rows.get("lanemesh-embedded")
    one, coalesced, alone = rows.get("bare-one"), rows.get("bare-coalesced"), rows.get("in-process")
    if spread and one:
        verdicts += [
            _at_least("spread against bare-one, items/s", spread.items_per_s / one.items_per_s, 20),
            _at_most("spread against bare-one, paced p50", spread.paced_ms_p50 / one.paced_ms_p50, 1.5),
        ]
        if spread.media_mib_per_s and one.media_mib_per_s:
            ratio = spread.media_mib_per_s / one.media_mib_per_s
            verdicts.append(_at_least("spread against bare-one, media bytes/s", ratio, 0.7))
    if spread and coalesced:
        ratio = spread.items_per_s / coalesced.items_per_s
        verdicts.append(_at_least("spread against bare-coalesced, items/s", ratio, 0.6))
    if embedded and alone:
        ratio = embedded.items_per_s / alone.items_per_s
        verdicts.append(_at_least("embedded against in-process, items/s", ratio, 0.3))
    return verdicts


def rows_table(rows: Sequence[Row]) -> Table:
    """The table of values."""
    table = Table(title="source, upper-case, count, client; medians of the rounds")
    table.add_column("system")
    for heading in ("items/s", "first ms p50", "p99", "paced ms p50", "p99", "media MiB/s"):
        table.add_column(heading, justify="right")
    for r in rows:
        table.add_row(
            r.system,
            f"{r.items_per_s:,.0f}",
            f"{r.first_item_ms_p50:.2f}",
            f"{r.first_item_ms_p99:.2f}",
            f"{r.paced_ms_p50:.2f}",
            f"{r.paced_ms_p99:.2f}",
            "" if r.media_mib_per_s is None else f"{r.media_mib_per_s:,.0f}",
        )
    return table


def verdicts_table(verdicts: Sequence[Verdict]) -> Table:
    """The table of targets, each beside its value."""
    table = Table()
    table.add_column("what")
    table.add_column("value", justify="right")
    table.add_column("target", justify="right")
    table.add_column("")
    for v in verdicts:
        sign = "≥" if v.at_least else "≤"
        value, bound = f"{v.value:.2f} {v.unit}", f"{sign} {v.bound:g} {v.unit}"
        table.add_row(v.what, value, bound, "met" if v.met else _missed(v))
    misses = [miss_of(v.what) for v in verdicts if v.documented]
    if sections := sorted({miss.section for miss in misses if miss is not None}):
        table.caption = "documented in docs/decisions.md: " + "; ".join(f"“{section}”" for section in sections)
    return table


def verdicts_json(verdicts: Sequence[Verdict]) -> str:
    """The targets as JSON: the fields of each verdict, `met` and `documented`."""
    return json.dumps([asdict(v) | {"met": v.met, "documented": v.documented} for v in verdicts], indent=2)


def status(verdicts: Sequence[Verdict]) -> int:
    """The exit status of a benchmark: 0 if each target is met or missed as documented, else 1."""
    return 0 if all(v.met or v.documented for v in verdicts) else 1


def _missed(verdict: Verdict) -> str:
    """The last column of a row that misses: whether that is documented, or up to which value."""
    missed, miss = "[bold]MISSED[/bold]", miss_of(verdict.what)
    if miss is None:
        return missed
    if verdict.documented:
        return f"{missed}, documented"
    return f"{missed}, by more than documented ({miss.held:g} {verdict.unit})"


def console(*, stderr: bool = False) -> Console:
    """Wide enough for the tables when nothing says how wide the output is."""
    found = Console(stderr=stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=stderr, highlight=False, width=110)


def _at_least(what: str, value: float, bound: float) -> Verdict:
    return Verdict(what=what, value=value, bound=bound, at_least=True)


def _at_most(what: str, value: float, bound: float) -> Verdict:
    return Verdict(what=what, value=value, bound=bound, at_least=False)
