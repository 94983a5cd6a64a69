"""A client in two event loops, after its end and in a forked child: it works, or one sentence reports why it cannot."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import grpc
import pytest
from lanemesh import Client, LanemeshError, SyncClient
from lanemesh._aio.loop_thread import LoopThread
from lanemesh._grpc.connections import CHANNEL_OPTIONS, NO_PROXY, dial, host_of
from lanemesh_orchestrator.orchestrator import Orchestrator

ECHO = {
    "components": [
        {"id": "chat_1", "provider": "chat"},
        {"id": "out_1", "provider": "response", "input": [{"lane": "text", "from": "chat_1"}]},
    ]
}

FORKS = 6
"""How often the process forks: a child that destroyed what it inherits of gRPC would crash about every second time."""
FORKING = f"""
FORKS = {FORKS}
import os
from lanemesh import LanemeshError, SyncClient
from lanemesh_orchestrator import SyncMesh

for _ in range(FORKS):
    client = SyncClient("127.0.0.1:9")
    try:
        client.node_servers()
    except LanemeshError:
        pass
    child = os.fork()
    if not child:
        for use in (client.node_servers, lambda: SyncClient("127.0.0.1:9").node_servers()):
            try:
                use()
            except LanemeshError as error:
                print(error.fault.reason, flush=True)
        raise SystemExit(0)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

FREES = """
import collections, gc, os, signal
from lanemesh import LanemeshError, SyncClient

def use(client):
    try:
        client.node_servers()
    except LanemeshError:
        pass

client = SyncClient("127.0.0.1:9")
use(client)
ends = collections.Counter()
for _ in range(5):
    child = os.fork()
    if not child:
        signal.alarm(5)  # freed objects of gRPC wait for a thread that is not there
        use(client)
        use(SyncClient("127.0.0.1:9"))
        del client
        gc.collect()
        raise SystemExit(0)
    ends[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])] += 1
print(dict(ends))
"""

ODD = """
import os, signal
from lanemesh import LanemeshError, SyncClient

class Odd(type):
    __module__ = property(lambda self: [])  # which is not hashable

    def __eq__(self, other):
        raise RuntimeError("not comparable")

class Thing(metaclass=Odd):
    pass

kept = Thing()
try:
    SyncClient("127.0.0.1:9").node_servers()
except LanemeshError:
    pass
child = os.fork()
if not child:
    print(signal.pthread_sigmask(signal.SIG_BLOCK, ()) or "nothing is blocked", flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.fixture
def address() -> object:
    """An orchestrator in an event loop of its own."""
    thread = LoopThread("orchestrator")

    async def begin() -> Orchestrator:
        orchestrator = Orchestrator(embedded=True)
        await orchestrator.listen()
        return orchestrator

    orchestrator = thread.call(begin())
    yield orchestrator.address
    thread.call(orchestrator.close())
    thread.stop()


def test_a_client_works_in_one_loop_after_another(address: str) -> None:
    client = Client(address)

    async def use() -> str:
        return await client.run(ECHO, input="hello").text()

    assert [asyncio.run(use()), asyncio.run(use())] == ["hello", "hello"]


def test_a_detached_run_is_read_in_the_loop_after_that_of_its_start(address: str) -> None:
    client = Client(address)
    run = asyncio.run(client.start(ECHO, input="hello"))

    async def wait() -> str:
        return (await run.result()).state.name

    assert asyncio.run(wait()) == "COMPLETED"


def test_a_client_of_a_loop_that_works_is_refused_in_another(address: str) -> None:
    client = Client(address)
    thread = LoopThread("first")
    thread.call(client.node_servers())

    with pytest.raises(LanemeshError, match="make one client for each event loop"):
        asyncio.run(client.node_servers())
    thread.call(client.close())
    thread.stop()


def test_a_run_is_refused_in_another_loop_than_the_one_that_started_it(address: str) -> None:
    client = Client(address)

    async def start() -> object:
        return await client.run(ECHO, open_input=True).start()

    run = asyncio.run(start())
    with pytest.raises(LanemeshError, match="this run belongs to a closed event loop"):
        asyncio.run(run.result())  # type: ignore[attr-defined]


def test_a_closed_client_is_reported_as_such() -> None:
    client = SyncClient("127.0.0.1:9")
    client.close()
    with pytest.raises(LanemeshError, match="this SyncClient is closed"):
        client.node_servers()


def test_many_threads_use_one_client(address: str) -> None:
    with SyncClient(address) as client:
        texts: list[str] = []
        threads = [
            threading.Thread(target=lambda: texts.append("".join(client.run(ECHO, input="x").text()))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert texts == ["x"] * 8


def test_a_forked_child_is_refused_and_ends() -> None:
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60)

    assert done.stdout.splitlines() == ["forked", "forked", "ended 0"] * FORKS, done.stderr


def test_forked_children_end_whatever_they_free() -> None:
    done = subprocess.run([sys.executable, "-c", FREES], capture_output=True, text=True, timeout=60)

    assert done.stdout == "{0: 5}\n", done.stderr


def test_a_forked_child_is_set_up_whatever_classes_a_program_has() -> None:
    done = subprocess.run([sys.executable, "-c", ODD], capture_output=True, text=True, timeout=60)

    assert (done.stdout, done.stderr) == ("nothing is blocked\n", "")


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]:1", "::1"),
        ("dns:///localhost:1", "localhost"),
        ("ipv4:127.0.0.1:1", "127.0.0.1"),
    ],
)
def test_the_host_of_an_address(address: str, host: str) -> None:
    assert host_of(address) == host


@pytest.mark.parametrize(
    ("address", "proxy", "direct"),
    [
        ("127.0.0.2:1", True, True),
        ("localhost:1", True, True),
        ("unix:/tmp/socket", True, True),
        ("10.0.0.1:1", True, False),
        ("10.0.0.1:1", False, True),
    ],
)
async def test_a_proxy_is_taken_by_clients_of_other_machines_alone(
    address: str, proxy: bool, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, int]] = []
    make_channel = grpc.aio.insecure_channel

    def make(address: str, options: list[tuple[str, int]]) -> grpc.aio.Channel:
        given.extend(options)
        return make_channel(address, options=options)

    monkeypatch.setattr(grpc.aio, "insecure_channel", make)
    dial(address, proxy=proxy)

    assert given == ([*CHANNEL_OPTIONS, NO_PROXY] if direct else CHANNEL_OPTIONS)
