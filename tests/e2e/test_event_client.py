"""The client of the benchmark of the gateway."""

import asyncio

from gateways.event_client import EventClient


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


async def test_a_connection_that_the_server_has_closed_is_replaced() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\ndata: {"a":1}\n\n')
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        client = EventClient("127.0.0.1", server.sockets[0].getsockname()[1])
        for _ in range(2):
            assert [update["a"] async for update in client.updates("/")] == [1]
            (idle,) = client._idle
            assert await idle._reader.read() == b""  # the end of the connection has arrived
        client.close()
