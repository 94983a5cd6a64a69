"""What the benchmarks make of their samples."""

from pathlib import Path

import pytest

import kinds
from chain.misses import MISSES
from chain.report import Row, Verdict, judge, row, status, verdicts_table
from chain.systems import Sample, percentile
from chain.work import Count

DECISIONS = Path(__file__).parents[2] / "docs" / "decisions.md"


def a_row(system: str, *, items_per_s: float = 1.0, paced: float = 1.0, media: float | None = None) -> Row:
    return Row(
        system=system,
        items_per_s=items_per_s,
        first_item_ms_p50=1.0,
        first_item_ms_p99=1.0,
        paced_ms_p50=paced,
        paced_ms_p99=paced,
        media_mib_per_s=media,
    )


def test_percentiles_are_nearest_rank() -> None:
    values = [float(n) for n in range(100, 0, -1)]

    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile([7.0], 0.99) == 7


def test_a_row_is_the_median_of_its_rounds() -> None:
    samples = [Sample(items_per_s=n, first_item_ms=[n, n], paced_ms=[n]) for n in (1.0, 9.0, 5.0)]

    made = row("x", samples, media=[1 << 20, 3 << 20, 2 << 20])

    assert (made.items_per_s, made.first_item_ms_p99, made.paced_ms_p50) == (5, 5, 5)
    assert made.media_mib_per_s == 2


def test_the_targets_compare_lanemesh_with_the_bare_rows() -> None:
    bare = [a_row("bare-one", items_per_s=10, media=100), a_row("bare-coalesced", items_per_s=400)]
    rows = [*bare, a_row("lanemesh-spread", items_per_s=250, paced=1.6, media=80)]

    verdicts = {v.what: v for v in judge({r.system: r for r in rows})}

    assert verdicts["spread against bare-one, items/s"].met
    assert verdicts["spread against bare-coalesced, items/s"].met
    assert verdicts["spread against bare-one, media bytes/s"].value == pytest.approx(0.8)
    assert not verdicts["spread against bare-one, paced p50"].met


def test_rows_that_were_not_measured_have_no_verdict() -> None:
    assert judge({"in-process": a_row("in-process")}) == []


STARTS_A_SECOND = "deployed runs started and ended a second"


def a_rate(value: float, what: str = STARTS_A_SECOND) -> Verdict:
    return Verdict(what=what, value=value, bound=300, at_least=True)


def test_a_documented_miss_fails_only_below_the_value_that_is_held() -> None:
    held = MISSES[STARTS_A_SECOND].held
    reached, documented, worse = a_rate(300), a_rate(held), a_rate(held - 1)
    other = a_rate(held, "something else")

    assert [v.documented for v in (reached, documented, worse, other)] == [False, True, False, False]
    assert [status([v]) for v in (reached, documented, worse, other)] == [0, 0, 1, 1]
    cells = list(verdicts_table([reached, documented, worse, other]).columns[3].cells)
    assert cells == [
        "met",
        "[bold]MISSED[/bold], documented",
        f"[bold]MISSED[/bold], by more than documented ({held:g} x)",
        "[bold]MISSED[/bold]",
    ]


def test_each_documented_miss_has_its_section() -> None:
    headings = {line.removeprefix("### ") for line in DECISIONS.read_text().splitlines() if line.startswith("### ")}

    assert {miss.section for miss in MISSES.values()} <= headings


@pytest.mark.parametrize(("items", "results"), [(4, ["2 b", "4 d"]), (3, ["2 b", "3 c"]), (0, [])])
def test_the_count_speaks_every_so_often_and_at_the_end(items: int, results: list[str]) -> None:
    count = Count(every=2)

    said = [count.take(text) for text in "abcd"[:items]] + [count.end()]

    assert [result for result in said if result is not None] == results


def test_kinds_are_judged_by_their_share_of_in_process() -> None:
    shares = {"in-process": 1.0, "process, async": 0.2, "process, sync": 0.09, "gen_process, sync": 0.001}
    rows = [kinds.Row(kind=name, items_per_s=1e6 * share, share=share) for name, share in shares.items()]
    verdicts = {verdict.what: verdict.met for verdict in kinds.judge(rows)}
    assert verdicts == {
        "process, async against in-process, items/s": True,
        "process, sync against in-process, items/s": False,
        "gen_process, sync against in-process, items/s": False,
    }
