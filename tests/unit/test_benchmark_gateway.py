"""What the benchmark of the gateway makes of its samples."""

import asyncio

from gateways import report
from gateways.delivery import Found
from gateways.event_client import EventClient
from gateways.idle import Growth


def test_sse_is_judged_by_its_delay_and_its_share() -> None:
    slow = report.of_delivery(Found(rows=[], first_later_ms=1.6, share=0.49))
    fast = report.of_delivery(Found(rows=[], first_later_ms=1.4, share=0.51))

    assert [verdict.met for verdict in slow] == [False, False]
    assert [verdict.met for verdict in fast] == [True, True]


def test_the_bound_of_idle_clients_is_in_proportion_to_their_number() -> None:
    growths = [Growth(kind=kind, clients=200, mb=mb) for kind, mb in (("event streams", 11.9), ("sockets", 12.1))]

    assert [verdict.met for verdict in report.of_idle(growths)] == [True, False]


async def test_events_that_arrive_in_pieces_are_read_whole_and_the_connection_is_kept() -> None:
    requests: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for piece in (b": hello\n\nid: 1\nda", b'ta: {"a":1}\n\ndata: {"a":', b"2}\n\n"):
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        client = EventClient("127.0.0.1", server.sockets[0].getsockname()[1])
        found = [[update["a"] async for update in client.updates(path)] for path in ("/one", "/two")]
        client.close()

    assert found == [[1, 2], [1, 2]]
    assert [request.split()[1] for request in requests] == [b"/one", b"/two"]
