"""What the benchmark of the gateway makes of its samples."""

from gateways import report
from gateways.delivery import Found
from gateways.idle import Growth


def test_sse_is_judged_by_its_delay_and_its_share() -> None:
    slow = report.of_delivery(Found(rows=[], first_later_ms=1.6, share=0.49))
    fast = report.of_delivery(Found(rows=[], first_later_ms=1.4, share=0.51))

    assert [verdict.met for verdict in slow] == [False, False]
    assert [verdict.met for verdict in fast] == [True, True]


def test_the_bound_of_idle_clients_is_in_proportion_to_their_number() -> None:
    growths = [Growth(kind=kind, clients=200, mb=mb) for kind, mb in (("event streams", 11.9), ("sockets", 12.1))]

    assert [verdict.met for verdict in report.of_idle(growths)] == [True, False]
