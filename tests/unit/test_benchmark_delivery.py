"""What the benchmarks of clients make of their samples."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from chain.in_process import InProcess
from chain.systems import WrongResult
from chain.work import PROGRESS, Work, texts
from delivery import report, starts, throughput
from delivery.detached import Left
from delivery.frames import Frame, Scripts, counts, read, usual, whole
from delivery.memory import growth
from delivery.paced import Row as PacedRow
from delivery.stalled import Stall
from delivery.starts import Start
from delivery.systems import deliver


class Lossy:
    """A chain that loses its last item."""

    name = "lossy"
    load = 1

    async def results(self, work: Work) -> AsyncGenerator[str, None]:
        for number in range(work.items - 1):
            yield f"{number + 1} TOKEN {number}"


def a_stall(system: str = "client", *, grown: float = 0.0, still_emitted: int = 0) -> Stall:
    return Stall(system=system, grown_mib={"client": 0.0, "orchestrator": grown}, ahead=1, still_emitted=still_emitted)


async def test_every_item_is_delivered_and_a_lost_one_is_an_error() -> None:
    await deliver(InProcess(), 1_000)

    with pytest.raises(WrongResult, match="delivered 9"):
        await deliver(Lossy(), 10)


def test_a_source_records_how_many_items_it_has_made(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    path.write_bytes(PROGRESS.pack(0))
    made = texts(Work(items=10, every=1, progress=str(path)))

    taken = [next(made) for _ in range(3)]

    assert PROGRESS.unpack(path.read_bytes()) == (3,)
    assert taken == ["token 0", "token 1", "token 2"]


def test_shares_of_the_peers_are_judged_and_peers_are_not() -> None:
    rows = [
        throughput.Row(system="client", items_per_s=1, cpu_us_per_item=1, peer="bare-coalesced", ratio=0.5),
        throughput.Row(system="lanemesh-embedded", items_per_s=1, cpu_us_per_item=1, peer="in-process", ratio=0.1),
        throughput.Row(system="bare-coalesced", items_per_s=1, cpu_us_per_item=1),
    ]

    verdicts = {verdict.what: verdict.met for verdict in report.of_throughput(rows)}

    assert verdicts == {
        "client against bare-coalesced, items/s": True,
        "lanemesh-embedded against in-process, items/s": False,
    }


def test_the_latency_of_the_client_alone_has_a_target() -> None:
    rows = [PacedRow(system=name, p50_ms=1, p99_ms=1, ratio=1.6) for name in ("bare-one", "client", "client-store")]

    (verdict,) = report.of_paced(rows)

    assert verdict.what.startswith("client against bare-one")
    assert not verdict.met


@pytest.mark.parametrize(
    ("stall", "met"),
    [
        (a_stall(grown=1.5), [True, True]),
        (a_stall(grown=80.0), [False, True]),
        (a_stall(still_emitted=1), [True, False]),
        (a_stall("bare-coalesced", grown=80.0), []),
    ],
)
def test_a_stalled_client_may_cost_no_memory_and_has_to_stop_the_source(stall: Stall, met: list[bool]) -> None:
    assert [verdict.met for verdict in report.of_stalls([stall])] == met


def test_a_process_that_is_new_has_grown_by_all_that_it_has() -> None:
    assert growth({"client": 10.0}, {"client": 11.0, "source": 5.0}) == {"client": 1.0, "source": 5.0}


def test_a_row_of_starts_is_the_median_of_its_rounds() -> None:
    rounds = [[Start(running_ms=ms, first_ms=2 * ms) for ms in range(1, 21)] for _ in range(3)]
    bare = [[Start(running_ms=0, first_ms=10)] for _ in range(3)]

    row = starts.row("deployed", 200, rounds, bare)

    assert (row.running_p50_ms, row.running_tenth_ms, row.running_p99_ms) == (10, 10, 20)
    assert (row.first_p50_ms, row.first_ratio) == (20, 2)


def test_starts_of_deployed_runs_alone_have_targets() -> None:
    bare = [[Start(running_ms=0, first_ms=10)]]
    rows = [
        starts.row(name, at_once, [[Start(running_ms=2, first_ms=20)]], bare)
        for name in ("deployed", "not deployed")
        for at_once in (1, 50, 200)
    ]
    rates = [starts.Rate(system=name, runs_per_s=300, cpu_ms_per_run=1) for name in ("bare", "deployed")]

    verdicts = report.of_starts(rows, rates)

    assert {verdict.what for verdict in verdicts if not verdict.met} == {
        f"deployed, {at_once} at once: first item against bare streams, p50" for at_once in (1, 50, 200)
    }
    assert len(verdicts) == 8


def test_unread_detached_runs_have_one_budget() -> None:
    left = {grown: report.of_detached(Left(runs=2, outputs=10, grown_mib=grown, seconds=1)) for grown in (256.0, 300.0)}

    assert [verdict.met for verdict in left.values()] == [True, False]


def a_run(*messages: bytes) -> Scripts:
    """The scripts of a client and an orchestrator, of which the client sends these messages."""
    return {
        "client": [Frame(at, True, "Run", "orchestrator", message) for at, message in enumerate(messages)],
        "orchestrator": [Frame(at, False, "Run", "", message) for at, message in enumerate(messages)],
    }


def test_the_usual_run_has_the_most_frequent_numbers_of_frames() -> None:
    runs = [a_run(b"1", b"2", b"3"), a_run(b"1", b"2"), a_run(b"3", b"4")]

    assert usual(runs) == a_run(b"1", b"2")
    assert counts(usual(runs)) == {"Run": 2}


def test_a_recording_without_an_end_of_a_frame_is_not_whole() -> None:
    run = a_run(b"1", b"2")

    assert whole(run)
    assert not whole({**run, "orchestrator": run["orchestrator"][:1]})
    assert not whole({"client": [], "orchestrator": []})


def test_recorded_frames_are_read_in_order_with_the_names_of_processes(tmp_path: Path) -> None:
    frames = [Frame(at, True, "Host", "127.0.0.1:1", b"\x00\xff") for at in (2, 1)]
    (tmp_path / "frames").write_text("\n".join(frame.to_json() for frame in frames))

    found = read(tmp_path / "frames", {"127.0.0.1:1": "source"})

    assert [(frame.at_ns, frame.peer, frame.message) for frame in found] == [
        (1, "source", b"\x00\xff"),
        (2, "source", b"\x00\xff"),
    ]
