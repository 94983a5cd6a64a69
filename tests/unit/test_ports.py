"""The ports of servers that start later."""

from __future__ import annotations

import socket

from rigs.ports import RANGE, free_port


def test_ports_differ_and_are_none_that_the_system_gives_to_others() -> None:
    ports = [free_port() for _ in range(100)]

    assert len(set(ports)) == 100
    assert max(ports) < int(RANGE.read_text().split()[0])
    with socket.socket() as server:
        server.bind(("127.0.0.1", ports[0]))
