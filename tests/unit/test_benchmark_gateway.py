"""What the benchmark of the gateway makes of its samples."""

from gateways import report
from gateways.delivery import Found, Row
from gateways.idle import Growth


def test_sse_is_judged_by_its_delay_and_its_share() -> None:
    slow = report.of_delivery(Found(rows=[], first_later_ms=1.6, share=0.49))
    fast = report.of_delivery(Found(rows=[], first_later_ms=1.4, share=0.51))

    assert [verdict.met for verdict in slow] == [False, False]
    assert [verdict.met for verdict in fast] == [True, True]


def test_the_table_has_the_bare_relay_beside_the_gateway() -> None:
    rows = [
        Row(
            front=front,
            first_p50_ms=first,
            first_p99_ms=9.0,
            later_ms=first - 4.0,
            between_cpu_ms=between,
            items_per_s=rate,
        )
        for front, first, between, rate in (
            ("gRPC client", 4.0, None, 10_000.0),
            ("SSE", 5.5, 3.25, 9_000.0),
            ("bare relay", 5.0, 2.5, None),
        )
    ]

    table = report.delivery_table(Found(rows=rows, first_later_ms=1.5, share=0.9))

    columns = [list(column.cells) for column in table.columns]
    assert columns[0] == ["gRPC client", "SSE", "bare relay"]
    assert columns[3:] == [["0.00", "1.50", "1.00"], ["", "3.25", "2.50"], ["10,000", "9,000", ""]]


def test_the_bound_of_idle_clients_is_in_proportion_to_their_number() -> None:
    growths = [Growth(kind=kind, clients=200, mb=mb) for kind, mb in (("event streams", 11.9), ("sockets", 12.1))]

    assert [verdict.met for verdict in report.of_idle(growths)] == [True, False]
