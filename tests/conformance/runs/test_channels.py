"""Channels: the same behaviours between the nodes of both kinds of mesh, and for clients inside and outside of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from lanemesh import Client
from lanemesh._grpc.status import fault_of
from lanemesh.channels import Channels, LocalChannels, Subscription
from lanemesh.channels.local import BLOCK_SECONDS
from lanemesh.channels.messages import Address
from lanemesh.client.run_reader import wire_updates
from lanemesh.client.runs import Run
from lanemesh.faults import LanemeshError
from lanemesh.v1 import channel_pb2, channel_pb2_grpc, update_pb2
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.runs import NODES, Pipeline, chat, node, pipeline, response, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

READY = "ready"


@pytest.fixture
def broker(mesh: Mesh) -> LocalChannels:
    """The broker of the mesh."""
    return mesh.orchestrator.channels


@pytest.fixture
def patience(broker: LocalChannels) -> Iterator[float]:
    """Slow subscribers are given up sooner than after 5 s, for the sake of the tests."""
    broker.block_seconds = 1.0
    yield broker.block_seconds
    broker.block_seconds = BLOCK_SECONDS


@pytest_asyncio.fixture(loop_scope="session")
async def outside(serving: Orchestrator) -> AsyncIterator[Client]:
    """Another client of `serving`."""
    async with Client(serving.address) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def stub(serving: Orchestrator) -> AsyncIterator[channel_pb2_grpc.ChannelServiceAsyncStub]:
    """The service, without our client."""
    async with grpc.aio.insecure_channel(serving.address) as channel:
        yield channel_pb2_grpc.ChannelServiceStub(channel)


def talking(**hearing: Any) -> Pipeline:
    """A hears what b and c announce."""
    return pipeline(
        chat(),
        node("a", "hear", "chat", **hearing),
        node("b", "announce", "chat", count=100),
        node("c", "announce", "chat", count=100),
        response("a", name="heard"),
        response("b", "c", name="told"),
    )


def hearing(**config: Any) -> Pipeline:
    """A hears, and b announces one message for each text."""
    return pipeline(
        chat(),
        node("a", "hear", "chat", **config),
        node("b", "announce", "chat", channel=config.get("channel", "news")),
        response("a", name="heard"),
        response("b", name="told"),
    )


async def open_run(mesh: Mesh, document: Pipeline) -> tuple[Run, Outputs]:
    """A run whose listener is ready."""
    run = mesh.run(document, open_input=True)
    outputs = Outputs(run)
    assert await outputs.next("heard") == READY
    return run, outputs


class Outputs:
    """The outputs of a run by their targets."""

    def __init__(self, run: Run) -> None:
        self._updates = wire_updates(run)
        self._seen: list[tuple[str, str]] = []
        self.state: update_pb2.RunState.ValueType = update_pb2.RUN_STATE_UNSPECIFIED

    async def next(self, target: str) -> str:
        """The next output of a target."""
        async with asyncio.timeout(20):
            while True:
                for pair in self._seen:
                    if pair[0] == target:
                        self._seen.remove(pair)
                        return pair[1]
                await self._read()

    async def rest(self, target: str) -> list[str]:
        """All further outputs of a target, to the run's end."""
        async with asyncio.timeout(20):
            while self.state == update_pb2.RUN_STATE_UNSPECIFIED or self.state < update_pb2.RUN_STATE_COMPLETED:
                await self._read()
        return [text for name, text in self._seen if name == target]

    async def _read(self) -> None:
        update = await anext(self._updates)
        if update.WhichOneof("kind") == "output":
            self._seen.append((update.output.component, update.output.item.text))
        elif update.WhichOneof("kind") == "job":
            self.state = update.job.state


def of(lines: list[str], publisher: str) -> list[str]:
    return [line.removeprefix(f"{publisher}: ") for line in lines if line.startswith(f"{publisher}: ")]


async def all_of(subscription: Subscription) -> list[Any]:
    return [message async for message in subscription]


@pytest.mark.conformance("CHAN-01", "CHAN-04")
async def test_everyone_gets_every_message_in_order_per_publisher(mesh: Mesh) -> None:
    run, outputs = await open_run(mesh, talking(limit=3))
    async with run.channels.subscribe("news", limit=1) as small, run.channels.subscribe("news") as large:
        reading = [asyncio.create_task(all_of(small)), asyncio.create_task(all_of(large))]
        await run.push("x")
        assert [await outputs.next("told"), await outputs.next("told")] == ["3", "3"]
        await run.channels.close("news")
        await run.end_input()
        heard = await outputs.rest("heard")
        mine = [[message["number"] for message in await task] for task in reading]
    expected = [f"x {number}" for number in range(100)]
    assert of(heard, "b") == of(heard, "c") == expected
    assert heard[-1] == "lost 0"
    for numbers in mine:
        assert sorted(numbers) == sorted([*range(100)] * 2)


@pytest.mark.conformance("CHAN-01")
async def test_names_of_two_runs_do_not_mix_and_those_of_the_mesh_do(mesh: Mesh) -> None:
    (one, ones), (two, twos) = [await open_run(mesh, hearing()) for _ in range(2)]
    (three, threes), (four, fours) = [await open_run(mesh, hearing(channel="mesh:news")) for _ in range(2)]
    channels = mesh.channels(name="me")
    async with channels.subscribe("mesh:news") as everywhere:
        for run, outputs, text, got in ((one, ones, "1", "1"), (two, twos, "2", "1"), (three, threes, "3", "3")):
            await run.push(text)
            assert await outputs.next("told") == got
        assert await anext(everywhere) == {"text": "3", "number": 0}
        assert await channels.publish("mesh:news", {"text": "hi", "number": 1}) == 3
    assert [await outputs.next("heard") for outputs in (ones, twos)] == ["b: 1 0", "b: 2 0"]
    for outputs in (threes, fours):
        assert [await outputs.next("heard") for _ in range(2)] == ["b: 3 0", "me: hi 1"]
    for run in (one, two, three, four):
        await run.close()


@pytest.mark.timing
@pytest.mark.conformance("CHAN-02")
async def test_a_subscriber_that_takes_nothing_is_abandoned_and_notified_and_delays_no_other(
    mesh: Mesh, patience: float
) -> None:
    run, outputs = await open_run(mesh, hearing(deaf=True, limit=2))
    async with run.channels.subscribe("news") as other:
        for text in "12":
            await run.push(text)
            assert await outputs.next("told") == "2"
        began = time.monotonic()
        await run.push("3")
        assert [(await anext(other))["text"] for _ in range(3)] == ["1", "2", "3"]
        assert time.monotonic() - began < patience
        assert await outputs.next("told") == "1"  # a publisher that stopped waiting reports the number of receivers
        assert time.monotonic() - began >= patience
        await run.push("4")  # no publisher waits for it any more
        assert await outputs.next("told") == "1"
    await run.end_input()
    assert await outputs.rest("heard") == ["b: 1 0", "b: 2 0", "subscriber-too-slow", "lost 0"]


@pytest.mark.conformance("CHAN-02")
async def test_a_subscriber_that_loses_the_oldest_never_blocks_and_counts_them(mesh: Mesh) -> None:
    run, outputs = await open_run(mesh, hearing(deaf=True, limit=2, overflow="drop_oldest"))
    for number in range(50):
        assert await run.channels.publish("news", {"text": "x", "number": number}) == 1
    await run.channels.close("news")
    await run.end_input()
    *heard, lost = await outputs.rest("heard")
    numbers = [int(line.removeprefix("client: x ")) for line in heard]
    assert numbers == sorted(numbers)
    assert numbers[-2:] == [48, 49]
    assert len(numbers) + int(lost.removeprefix("lost ")) == 50
    if mesh.orchestrator.grpc is None:  # spread, some may still come when the first ones are taken
        assert len(numbers) == 2


@pytest.mark.conformance("CHAN-02", "CHAN-05")
async def test_closing_waits_for_no_subscriber_and_loses_nothing(mesh: Mesh) -> None:
    run, outputs = await open_run(mesh, hearing(deaf=True, limit=1))
    for text in "12":
        await run.push(text)  # the second one waits for capacity
    assert await outputs.next("told") == "1"
    address = Address(run.id, "news")
    broker = mesh.orchestrator.channels.broker
    await until(lambda: any(each.pending for each in broker._runs[run.id].channels[address.name].subscribers))
    await asyncio.wait_for(run.channels.close("news"), 4)
    assert await outputs.next("told") == "1"
    await run.push("3")
    assert await outputs.next("told") == "channel-closed"
    await run.end_input()
    assert await outputs.rest("heard") == ["b: 1 0", "b: 2 0", "lost 0"]


@pytest.mark.conformance("CHAN-03")
async def test_subscribers_of_one_name_are_apart_and_a_late_one_starts_at_now(mesh: Mesh) -> None:
    run, outputs = await open_run(mesh, hearing())
    async with run.channels.subscribe("news") as early:
        await run.push("1")
        assert await outputs.next("told") == "2"
        async with run.channels.subscribe("news") as late:
            await run.push("2")
            assert await outputs.next("told") == "3"
            assert (await anext(late))["text"] == "2"
        await run.push("3")
        assert await outputs.next("told") == "2"  # one of them has left
        assert [(await anext(early))["text"] for _ in range(3)] == ["1", "2", "3"]
    assert [await outputs.next("heard") for _ in range(3)] == ["b: 1 0", "b: 2 0", "b: 3 0"]
    await run.close()


@pytest.mark.conformance("CHAN-05")
async def test_a_closed_channel_refuses_messages_and_ends_subscribers_at_once(mesh: Mesh) -> None:
    run, outputs = await open_run(mesh, hearing(channel="other"))
    channels = run.channels
    await channels.close("news")
    await channels.close("news")
    with pytest.raises(LanemeshError, match='the channel "news": it is closed') as caught:
        await channels.publish("news", 1)
    assert caught.value.fault.reason == "channel-closed"
    async with channels.subscribe("news") as subscription:
        assert await asyncio.wait_for(all_of(subscription), 5) == []
    assert await channels.publish("mesh:news", 1) == 0
    async with channels.subscribe("other") as last:
        await run.cancel("enough")
        assert await asyncio.wait_for(all_of(last), 5) == []  # the run's end closes its channels
    await outputs.rest("heard")
    with pytest.raises(LanemeshError, match=f"since run {run.id} has ended"):
        await channels.publish("other", 1)


@pytest.mark.timing
async def test_a_run_that_is_cancelled_while_it_publishes_ends_at_once(mesh: Mesh) -> None:
    run, outputs = await open_run(mesh, hearing(deaf=True, limit=1))
    for text in "12":
        await run.push(text)
    assert await outputs.next("told") == "1"
    broker = mesh.orchestrator.channels.broker
    await until(lambda: any(each.pending for each in broker._runs[run.id].channels["news"].subscribers))
    began = time.monotonic()
    await run.cancel("enough")
    await outputs.rest("heard")
    assert time.monotonic() - began < 1.5
    assert outputs.state == update_pb2.RUN_STATE_CANCELLED
    assert run.id not in broker._runs


async def test_subscriptions_of_a_node_end_with_it(mesh: Mesh, broker: LocalChannels) -> None:
    document = pipeline(chat(), node("a", "forget", "chat"), response("a"))
    assert (await mesh.run(document, input="x").result()).values == ("listening",)
    await until(lambda: not broker.broker.subscriber_count(Address("", "mesh:forgotten")))


async def test_who_is_cancelled_in_a_publish_has_published_and_in_order(mesh: Mesh) -> None:
    run, outputs = await open_run(mesh, hearing(channel="other"))
    async with run.channels.subscribe("news", limit=1) as slow:
        first, second = [asyncio.create_task(run.channels.publish("news", number)) for number in (1, 2)]
        assert await first == 1
        await until(lambda: _waits(mesh, run))
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        third = asyncio.create_task(run.channels.publish("news", 3))
        assert [await anext(slow) for _ in range(3)] == [1, 2, 3]
        assert await third == 1
    await run.close()
    await outputs.rest("heard")


def _waits(mesh: Mesh, run: Run) -> bool:
    return any(each.pending for each in mesh.orchestrator.channels.broker._runs[run.id].channels["news"].subscribers)


async def test_a_wait_for_a_message_can_be_given_up_without_losing_any(mesh: Mesh) -> None:
    run, outputs = await open_run(mesh, hearing(channel="other"))
    async with run.channels.subscribe("news") as subscription:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(subscription), 0.01)
        await run.channels.publish("news", [1, {"a": None}, 2**63 - 1, "ü"])
        assert await anext(subscription) == [1, {"a": None}, 2**63 - 1, "ü"]
    await run.close()
    await outputs.rest("heard")


# From outside


@pytest_asyncio.fixture(loop_scope="session")
async def remote(client: Client) -> AsyncIterator[tuple[Run, Outputs]]:
    """A run that a client has started, whose listener hears "news"."""
    run = client.run(hearing(), open_input=True)
    outputs = Outputs(run)
    assert await outputs.next("heard") == READY
    yield run, outputs
    await run.close()


@pytest.mark.conformance("CHAN-01", "CHAN-04", "CHAN-05")
async def test_an_external_client_talks_with_nodes(remote: tuple[Run, Outputs], outside: Client) -> None:
    run, outputs = remote
    channels = outside.channels(run.id, name="me")
    async with channels.subscribe("news") as subscription:
        await run.push("1")
        assert await outputs.next("told") == "2"
        assert [pair async for pair in _first(subscription)] == [("b", {"text": "1", "number": 0})]
        assert await channels.publish("news", {"text": "hello", "number": 7}) == 2
        assert [await outputs.next("heard") for _ in range(2)] == ["b: 1 0", "me: hello 7"]
        await channels.close("news")
        assert [message["number"] async for message in subscription] == [7]
    with pytest.raises(LanemeshError, match="it is closed, and accepts no more messages"):
        await channels.publish("news", 1)
    await run.end_input()
    assert await outputs.rest("heard") == ["lost 0"]


async def _first(subscription: Subscription) -> AsyncIterator[tuple[str, Any]]:
    pairs = subscription.with_publishers()
    yield await anext(pairs)
    await pairs.aclose()


@pytest.mark.conformance("CHAN-04")
async def test_an_external_client_talks_with_nodes_of_other_processes(spread: Mesh) -> None:
    run, outputs = await open_run(spread, hearing())
    async with Client(spread.orchestrator.address) as client:
        channels = client.channels(run.id, name="me")
        async with channels.subscribe("news", limit=1) as subscription:
            assert await channels.publish("news", {"text": "hello", "number": 1}) == 2
            assert (await anext(subscription))["text"] == "hello"
            await run.push("1")
            assert await outputs.next("told") == "2"
            assert (await anext(subscription))["text"] == "1"
    assert [await outputs.next("heard") for _ in range(2)] == ["me: hello 1", "b: 1 0"]
    await run.close()


async def test_a_node_server_that_dies_is_no_subscriber_any_more() -> None:
    async with Mesh("component", nodes=[NODES]) as mesh:
        run, outputs = await open_run(mesh, hearing(channel="mesh:doomed", deaf=True, limit=1))
        channels, broker = mesh.channels(), mesh.orchestrator.channels.broker
        assert await channels.publish("mesh:doomed", {"text": "x", "number": 1}) == 1
        blocked = asyncio.create_task(channels.publish("mesh:doomed", {"text": "x", "number": 2}))
        await until(lambda: any(each.pending for each in broker._mesh.channels["mesh:doomed"].subscribers))
        server = next(server for server in await mesh.node_servers() if server.name == "a")
        os.kill(server.pid or 0, signal.SIGKILL)
        assert await asyncio.wait_for(blocked, 4) == 0
        await outputs.rest("heard")
        assert outputs.state == update_pb2.RUN_STATE_FAILED
        assert not broker.subscriber_count(Address("", "mesh:doomed"))
        await run.close()


@pytest.mark.conformance("CHAN-04")
async def test_any_grpc_client_talks_with_nodes(
    remote: tuple[Run, Outputs], stub: channel_pb2_grpc.ChannelServiceAsyncStub
) -> None:
    run, outputs = remote
    channel = channel_pb2.ChannelName(run_id=run.id, name="news")
    call = stub.Subscribe(channel_pb2.SubscribeRequest(channel=channel))
    frames = aiter(call)
    assert (await anext(frames)).WhichOneof("frame") == "subscribed"
    message = channel_pb2.ChannelMessage(value_json='{"text": "hello", "number": 7}', publisher="cpp")
    published = await stub.Publish(channel_pb2.PublishRequest(channel=channel, message=message))
    assert published.subscribers == 2
    assert (await anext(frames)).message == message
    assert await outputs.next("heard") == "cpp: hello 7"
    await stub.CloseChannel(channel_pb2.CloseChannelRequest(channel=channel))
    last = [frame async for frame in frames]
    assert [frame.WhichOneof("frame") for frame in last] == ["closed"]
    assert not last[0].closed.HasField("fault")
    assert await call.code() is grpc.StatusCode.OK


@pytest.mark.timing
@pytest.mark.conformance("CHAN-02", "CHAN-04")
async def test_a_grpc_client_that_never_reads_is_abandoned_and_notified(
    serving: Orchestrator, stub: channel_pb2_grpc.ChannelServiceAsyncStub, client: Client
) -> None:
    serving.channels.block_seconds = 0.3
    name = channel_pb2.ChannelName(name="mesh:idle")
    call = stub.Subscribe(channel_pb2.SubscribeRequest(channel=name, limit=4, acknowledges=True))
    frames = aiter(call)
    await anext(frames)
    channels = client.channels()
    for number in range(4):
        assert await channels.publish("mesh:idle", number) == 1
    began = time.monotonic()
    assert await channels.publish("mesh:idle", 4) == 0
    assert 0.2 < time.monotonic() - began < BLOCK_SECONDS
    rest = [frame async for frame in frames]
    assert [frame.message.value_json for frame in rest[:-1]] == ["0", "1", "2", "3"]
    assert rest[-1].closed.fault.message.startswith(
        'the channel "mesh:idle": the subscriber without a name was too slow'
    )
    serving.channels.block_seconds = BLOCK_SECONDS


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "bad-message"),
        ("{", "bad-message"),
        ("NaN", "bad-message"),
        ("[" * 100_000, "bad-message"),
        ("1" * 100_000, "bad-message"),
        (f'"{"x" * 1024 * 1024}"', "message-too-large"),
    ],
    ids=["empty", "half", "nan", "deep", "long-number", "large"],
)
async def test_garbage_is_rejected_and_reaches_no_subscriber(
    stub: channel_pb2_grpc.ChannelServiceAsyncStub, client: Client, value: str, reason: str
) -> None:
    async with client.channels().subscribe("mesh:garbage") as subscription:
        message = channel_pb2.ChannelMessage(value_json=value, publisher="x" * 10_000)
        request = channel_pb2.PublishRequest(channel=channel_pb2.ChannelName(name="mesh:garbage"), message=message)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Publish(request)
        fault = fault_of(caught.value)
        assert fault is not None
        assert fault.reason == reason
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        await client.channels().publish("mesh:garbage", "well")
        assert await anext(subscription) == "well"


@pytest.mark.parametrize("value", [float("nan"), {1: 2}, object(), 2**64, "x" * 1024 * 1024, "\ud800"])
async def test_a_message_that_is_no_json_value_is_refused(client: Client, value: Any) -> None:
    with pytest.raises(LanemeshError):
        await client.channels().publish("mesh:garbage", value)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (channel_pb2.SubscribeRequest(), grpc.StatusCode.INVALID_ARGUMENT),
        (channel_pb2.SubscribeRequest(channel=channel_pb2.ChannelName(name="news")), grpc.StatusCode.INVALID_ARGUMENT),
        (
            channel_pb2.SubscribeRequest(channel=channel_pb2.ChannelName(name="news", run_id="none")),
            grpc.StatusCode.NOT_FOUND,
        ),
        (
            channel_pb2.SubscribeRequest(channel=channel_pb2.ChannelName(name="mesh:a", run_id="none")),
            grpc.StatusCode.OK,
        ),
        (
            channel_pb2.SubscribeRequest(channel=channel_pb2.ChannelName(name="mesh:a"), limit=70_000),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
    ],
    ids=["nothing", "no-run", "unknown-run", "run-of-mesh", "limit"],
)
async def test_nonsense_is_refused(
    stub: channel_pb2_grpc.ChannelServiceAsyncStub, request_: channel_pb2.SubscribeRequest, code: grpc.StatusCode
) -> None:
    call = stub.Subscribe(request_)
    if code is grpc.StatusCode.OK:
        assert (await anext(aiter(call))).WhichOneof("frame") == "subscribed"
        call.cancel()
        return
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(aiter(call))
    assert caught.value.code() is code
    await stub.Acknowledge(channel_pb2.AcknowledgeRequest(subscription_id="none", taken=7))


async def test_an_idle_subscription_gets_signs_of_life(
    stub: channel_pb2_grpc.ChannelServiceAsyncStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lanemesh_orchestrator.channels.service.IDLE_FRAME_SECONDS", 0.01)
    call = stub.Subscribe(channel_pb2.SubscribeRequest(channel=channel_pb2.ChannelName(name="mesh:idle")))
    frames = aiter(call)
    assert [(await anext(frames)).WhichOneof("frame") for _ in range(4)] == ["subscribed", None, None, None]
    call.cancel()


async def test_a_thousand_subscribers_get_every_message(client: Client, outside: Client) -> None:
    channels, far = client.channels(), outside.channels()
    subscriptions = [channels.subscribe("mesh:crowd", limit=4) for _ in range(950)]
    subscriptions += [far.subscribe("mesh:crowd", overflow="drop_oldest") for _ in range(50)]
    await asyncio.gather(*(subscription.open() for subscription in subscriptions))
    assert [await channels.publish("mesh:crowd", number) for number in range(3)] == [1000] * 3

    async def three(subscription: Subscription) -> list[int]:
        return [await anext(subscription) for _ in range(3)]

    taken = await asyncio.wait_for(asyncio.gather(*map(three, subscriptions)), 30)
    assert taken == [[0, 1, 2]] * 1000
    await asyncio.gather(channels.release(), far.release())


async def test_a_client_that_leaves_or_dies_is_no_subscriber_any_more(serving: Orchestrator, client: Client) -> None:
    broker = serving.channels.broker
    name = Address("", "mesh:mortal")
    async with Client(serving.address) as leaving:
        subscription = await leaving.channels().subscribe("mesh:mortal").open()
        assert broker.subscriber_count(name) == 1
    await until(lambda: not broker.subscriber_count(name))
    with pytest.raises(LanemeshError, match="the subscription broke"):
        await asyncio.wait_for(anext(subscription), 5)

    dying = await asyncio.create_subprocess_exec(sys.executable, "-c", SUBSCRIBE, serving.address)
    try:
        await until(lambda: broker.subscriber_count(name) == 1, 30)
        channels = client.channels()
        assert await channels.publish("mesh:mortal", 1) == 1  # it takes one message and no more
        blocked = asyncio.create_task(channels.publish("mesh:mortal", 2))
        await until(lambda: any(each.pending for each in broker._mesh.channels[name.name].subscribers))
        dying.kill()
        assert await asyncio.wait_for(blocked, 4) == 0  # who waited for it goes on at once
        assert not broker.subscriber_count(name)
    finally:
        if dying.returncode is None:
            dying.kill()
        await dying.wait()


SUBSCRIBE = """
import asyncio, sys
from lanemesh import Client

async def main():
    async with Client(sys.argv[1]) as client:
        async with client.channels().subscribe("mesh:mortal", limit=1):
            await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_an_orchestrator_that_stops_ends_subscriptions_with_an_error() -> None:
    orchestrator = Orchestrator(embedded=True)
    await orchestrator.listen()
    async with Client(orchestrator.address) as client:
        near = Channels(lambda: orchestrator.channels)
        async with client.channels().subscribe("mesh:x") as far, near.subscribe("mesh:x") as local:
            await orchestrator.close()
            for subscription in (far, local):
                with pytest.raises(LanemeshError, match="the orchestrator stops"):
                    await asyncio.wait_for(anext(subscription), 5)
        with pytest.raises(LanemeshError, match='the channel "mesh:x"'):
            await client.channels().publish("mesh:x", 1)
