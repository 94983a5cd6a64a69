"""Channels as a node has them: waits, threads, ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from lanemesh import Context, In, Node, Out
from lanemesh.channels import Channels, LocalChannels
from lanemesh.channels.messages import Address, read_message
from lanemesh.faults import LanemeshError
from lanemesh.testing import run_node
from lanemesh.v1 import channel_pb2


@pytest.fixture
async def channels() -> Channels:
    """Those of a run."""
    broker = LocalChannels()
    broker.broker.begin("r")
    return Channels(lambda: broker, run_id="r", name="me")


class Loud(Node):
    """Publishes what it gets, in a synchronous body."""

    text: In[str]
    told: Out[int]

    def process(self, context: Context) -> dict[str, int]:
        return {"told": context.channels.publish_sync("news", self.text)}


class Echo(Node):
    """Publishes the values that a test gives it."""

    count: In[int]
    heard: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        async with context.channels.subscribe("news") as subscription:
            for _ in range(self.count):
                yield "heard", await anext(subscription)
            await context.channels.publish("done", subscription.waiting_count)


async def test_every_wait_lends_what_the_node_holds(channels: Channels) -> None:
    lent: list[str] = []

    @asynccontextmanager
    async def waiting() -> AsyncIterator[None]:
        lent.append("begin")
        yield
        lent.append("end")

    async with channels.subscribe("a", limit=1) as subscription:
        await channels.publish("a", 1)
        channels.waiting = waiting
        assert await anext(subscription) == 1
        assert lent == []  # it was there
        taking = asyncio.create_task(anext(subscription))
        await asyncio.sleep(0)
        assert lent == ["begin"]
        await channels.publish("a", 2)
        assert await taking == 2
    assert lent.count("begin") == lent.count("end") >= 2


def test_run_node_keeps_what_was_published_and_gives_messages() -> None:
    loud = run_node(Loud, text=["a", "b"])
    assert (loud.told, loud.published) == ([0, 0], [("news", "a"), ("news", "b")])
    echo = run_node(Echo, count=2, messages=[("news", "x"), ("other", 1), ("news", "y"), ("news", "z")])
    assert (echo.heard, echo.published) == (["x", "y"], [("done", 1)])


async def test_an_event_loop_never_waits_for_publish_sync(channels: Channels) -> None:
    with pytest.raises(RuntimeError, match="Write `await"):
        channels.publish_sync("a", 1)
    assert await asyncio.to_thread(channels.publish_sync, "a", 1) == 0


async def test_what_a_component_left_running_publishes_no_more(channels: Channels) -> None:
    subscription = await channels.subscribe("a").open()
    await channels.end()
    assert [message async for message in subscription] == []
    for act in (channels.publish("a", 1), channels.subscribe("a").open(), channels.close("a")):
        with pytest.raises(LanemeshError, match="me has ended"):
            await act


async def test_a_subscription_that_is_registered_after_the_end_is_left_at_once(channels: Channels) -> None:
    @asynccontextmanager
    async def ends_meanwhile() -> AsyncIterator[None]:
        yield
        await channels.end()

    channels.waiting = ends_meanwhile
    subscription = channels.subscribe("a")
    with pytest.raises(LanemeshError, match="me has ended"):
        await subscription.open()
    assert [message async for message in subscription] == []
    other = Channels(channels._reach, run_id="r")
    assert await other.publish("a", 1) == 0


async def test_a_subscription_is_entered_first(channels: Channels) -> None:
    subscription = channels.subscribe("a")
    assert (subscription.waiting_count, subscription.dropped) == (0, 0)
    with pytest.raises(RuntimeError, match="Enter it first"):
        await anext(subscription)
    await subscription.close()
    with pytest.raises(ValueError, match="is not a valid Overflow"):
        channels.subscribe("a", overflow="lose")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["", "{", "NaN", "1e999", "9223372036854775808", "[" * 500 + "]" * 500, "[" * 100_000],
    ids=lambda text: text[:9],
)
def test_what_would_break_a_subscriber_is_no_message(text: str) -> None:
    with pytest.raises(LanemeshError, match="a message must be the text of a JSON value"):
        read_message(Address("r", "a"), channel_pb2.ChannelMessage(value_json=text))
