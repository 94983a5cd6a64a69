"""The broker's decisions, against an oracle that keeps plain lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lanemesh.channels import broker as bounds
from lanemesh.channels.broker import Broker
from lanemesh.channels.messages import MAX_MESSAGE_BYTES, Address, Message, Overflow
from lanemesh.channels.subscriber import Publication, Subscriber
from lanemesh.faults import LanemeshError

from repeats import times

RUN = "run-1"
NEWS = Address(RUN, "news")


def message(text: str, publisher: str = "p", size: int | None = None) -> Message:
    return Message(text, publisher, len(text) if size is None else size)


@pytest.fixture
def broker() -> Broker:
    made = Broker()
    made.begin(RUN)
    return made


def subscribe(
    broker: Broker, limit: int = 256, overflow: Overflow = Overflow.BLOCK, address: Address = NEWS
) -> Subscriber:
    return broker.subscribe(address, "s", overflow, limit)


def drain(subscriber: Subscriber) -> list[str]:
    found = []
    while (taken := subscriber.take()) is not None:
        found.append(taken.value)
    return found


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(LanemeshError) as caught:
        act()
    return caught.value.fault.reason


@dataclass(eq=False)
class Expected:
    """What a subscriber should have, in the simplest words: all it was sent, and what it took, lost or was refused."""

    subscriber: Subscriber
    drops: bool
    limit: int
    waiting: list[str] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    lost: int = 0
    over: bool = False
    given_up: bool = False

    def publish(self, text: str) -> None:
        if self.drops:
            self.waiting.append(text)
            while len(self.waiting) > self.limit:
                self.waiting.pop(0)
                self.lost += 1
        elif self.blocked or len(self.waiting) >= self.limit:
            self.blocked.append(text)
        else:
            self.waiting.append(text)

    def take(self) -> str | None:
        if not self.waiting:
            return None
        first = self.waiting.pop(0)
        if self.blocked and len(self.waiting) < self.limit:
            self.waiting.append(self.blocked.pop(0))
        return first

    def close(self) -> None:
        self.waiting += self.blocked
        self.blocked, self.over = [], True

    def give_up(self) -> None:
        self.blocked, self.over, self.given_up = [], True, True


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from(["ann", "bob"])),
        st.tuples(st.just("subscribe"), st.tuples(st.booleans(), st.integers(1, 4))),
        st.tuples(st.sampled_from(["take", "leave", "expire"]), st.integers(0, 7)),
        st.tuples(st.just("close"), st.none()),
    ),
    max_size=60,
)


@pytest.mark.conformance("CHAN-01", "CHAN-02", "CHAN-03", "CHAN-05")
@pytest.mark.many
@settings(max_examples=times(400, 50), deadline=None)
@given(ACTS)
def test_whatever_happens_subscribers_get_what_plain_lists_say(acts: list[tuple[str, object]]) -> None:
    broker = Broker()
    broker.begin(RUN)
    there: list[Expected] = []
    left: list[Expected] = []
    on_the_way: list[tuple[str, Publication]] = []
    closed = False
    for number, (act, detail) in enumerate(acts):
        match act, detail:
            case "publish", str(publisher):
                text = f"{publisher} {number}"
                if closed:
                    assert refused(lambda text=text: broker.publish(NEWS, message(text))) == "channel-closed"  # type: ignore[misc]
                    continue
                publication = broker.publish(NEWS, message(text, publisher))
                for each in there:
                    if not each.over:
                        each.publish(text)
                on_the_way.append((text, publication))
            case "subscribe", (bool(drops), int(limit)):
                made = subscribe(broker, limit, Overflow.DROP_OLDEST if drops else Overflow.BLOCK)
                there.append(Expected(made, drops, limit, over=closed))
            case "take", int(index) if there:
                each = there[index % len(there)]
                taken = each.subscriber.take()
                assert (taken.value if taken else None) == each.take()
            case "leave", int(index) if there:
                each = there.pop(index % len(there))
                broker.leave(each.subscriber)
                left.append(each)
            case "expire", int(index) if on_the_way:
                text, publication = on_the_way[index % len(on_the_way)]
                broker.expire(publication, 5)
                for each in there:
                    if text in each.blocked:
                        each.give_up()
            case "close", _:
                broker.close(NEWS)
                closed = True
                for each in there:
                    if not each.over:
                        each.close()
        for each in there:
            subscriber = each.subscriber
            assert (subscriber.queued, subscriber.dropped, subscriber.over) == (len(each.waiting), each.lost, each.over)
            assert (subscriber.fault is not None) == each.given_up
        for text, publication in on_the_way:
            assert publication.waiting == {each.subscriber for each in there if text in each.blocked}
    for each in there:
        rest = []
        while (waited := each.take()) is not None:
            rest.append(waited)
        assert drain(each.subscriber) == rest
    assert all(not each.subscriber.queued and each.subscriber.over for each in left)
    assert all(not publication.waiting for _, publication in on_the_way)
    assert broker.subscriber_count(NEWS) == sum(not each.over for each in there)


def test_what_is_held_counts_as_waiting_until_it_is_acknowledged(broker: Broker) -> None:
    subscriber = subscribe(broker, limit=2)
    for text in "ab":
        broker.publish(NEWS, message(text))
    assert subscriber.take(hold=True) is not None
    blocked = broker.publish(NEWS, message("c"))
    assert blocked.waiting == {subscriber}
    subscriber.acknowledge(1)
    assert not blocked.waiting
    subscriber.acknowledge(100)  # more than there are changes nothing
    assert drain(subscriber) == ["b", "c"]


def test_bytes_bound_what_waits_whatever_the_limit(broker: Broker) -> None:
    loses, blocks = subscribe(broker, 60_000, Overflow.DROP_OLDEST), subscribe(broker, 60_000)
    for number in range(16):
        assert not broker.publish(NEWS, message(str(number), size=MAX_MESSAGE_BYTES)).waiting
    last = broker.publish(NEWS, message("16", size=MAX_MESSAGE_BYTES))
    assert last.waiting == {blocks}
    assert (loses.queued, loses.dropped) == (16, 1)
    assert refused(lambda: broker.publish(NEWS, message("x", size=MAX_MESSAGE_BYTES + 1))) == "message-too-large"


def test_names_of_two_runs_are_two_channels_and_those_of_the_mesh_are_one(broker: Broker) -> None:
    broker.begin("run-2")
    own, other = subscribe(broker), subscribe(broker, address=Address("run-2", "news"))
    everywhere = [subscribe(broker, address=Address(run, "mesh:news")) for run in (RUN, "run-2", "")]
    broker.publish(NEWS, message("a"))
    broker.publish(Address("run-2", "mesh:news"), message("b"))
    assert (drain(own), drain(other)) == (["a"], [])
    assert [drain(each) for each in everywhere] == [["b"]] * 3


def test_the_end_of_a_run_closes_its_channels_and_no_others(broker: Broker) -> None:
    own, everywhere = subscribe(broker), subscribe(broker, address=Address(RUN, "mesh:news"))
    broker.publish(NEWS, message("a"))
    broker.end(RUN)
    broker.end(RUN)
    assert (own.over, own.fault, drain(own), everywhere.over) == (True, None, ["a"], False)
    assert refused(lambda: broker.publish(NEWS, message("b"))) == "channel-closed"
    assert subscribe(broker).over
    broker.close(NEWS)  # changes nothing
    broker.leave(own)
    assert refused(lambda: broker.publish(Address("run-9", "news"), message("b"))) == "unknown-run"
    assert refused(lambda: broker.publish(Address("", "news"), message("b"))) == "no-run"


def test_a_broker_that_stops_notifies_every_subscriber(broker: Broker) -> None:
    from lanemesh.faults import Code, Fault

    both = [subscribe(broker, 1), subscribe(broker, address=Address("", "mesh:x"))]
    for text in "ab":
        last = broker.publish(NEWS, message(text))
    broker.stop(Fault(code=Code.UNAVAILABLE, reason="orchestrator-stops", message="gone"))
    assert not last.waiting
    assert [each.fault.reason if each.fault else "" for each in both] == ["orchestrator-stops"] * 2
    for each in both:
        broker.leave(each)


@pytest.mark.parametrize("name", ["", "x" * 129, "line\nbreak", "\x00"])
def test_a_name_that_is_none_is_refused(broker: Broker, name: str) -> None:
    address = Address(RUN, name)
    for act in (
        lambda: broker.publish(address, message("a")),
        lambda: subscribe(broker, address=address),
        lambda: broker.close(address),
    ):
        assert refused(act) == "bad-channel-name"


@pytest.mark.parametrize("limit", [0, -1, 65_537])
def test_a_limit_that_is_none_is_refused(broker: Broker, limit: int) -> None:
    assert refused(lambda: subscribe(broker, limit)) == "bad-limit"


def test_channels_subscribers_and_waiting_messages_have_bounds(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_CHANNELS", 2)
    monkeypatch.setattr(bounds, "MAX_SUBSCRIBERS", 3)
    monkeypatch.setattr(bounds, "MAX_WAITING", 4)
    monkeypatch.setattr(bounds, "MAX_WAITING_BYTES", 100)
    slow, *others = [subscribe(broker, 1) for _ in range(3)]
    assert refused(lambda: subscribe(broker)) == "too-many-subscribers"
    second = subscribe(broker, address=Address(RUN, "b"))
    assert refused(lambda: subscribe(broker, address=Address(RUN, "c"))) == "too-many-channels"
    broker.leave(second)
    subscribe(broker, address=Address(RUN, "c"))
    for text in "abcde":
        broker.publish(NEWS, message(text))
        for each in others:
            each.take()
    assert refused(lambda: broker.publish(NEWS, message("f"))) == "channel-busy"
    assert [each.queued for each in others] == [0, 0]  # no subscriber got it
    slow.take()
    assert refused(lambda: broker.publish(NEWS, message("f", size=98))) == "channel-busy"
    broker.publish(NEWS, message("f", size=97))
    broker.leave(slow)
    for each in others:
        drain(each)
    assert not broker.publish(NEWS, message("g")).waiting


def test_closed_names_and_ended_runs_are_forgotten_in_the_end(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_CLOSED", 2)
    monkeypatch.setattr(bounds, "MAX_ENDED_RUNS", 2)
    for name in "abc":
        broker.close(Address(RUN, name))
    assert broker.publish(Address(RUN, "a"), message("x")).delivered == 0
    assert refused(lambda: broker.publish(Address(RUN, "b"), message("x"))) == "channel-closed"
    for run in ("r1", "r2", "r3"):
        broker.begin(run)
        broker.end(run)
    assert refused(lambda: broker.publish(Address("r1", "a"), message("x"))) == "unknown-run"
    assert refused(lambda: broker.publish(Address("r3", "a"), message("x"))) == "channel-closed"
