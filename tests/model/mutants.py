"""Ways to make the record of a lane wrong: each is a change of its events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lanemesh.v1 import lane_pb2

from model.recording import Act, End, Ending, Event

Events = list[Event]
Mutant = Callable[[Sequence[Event]], Events]


def at(events: Sequence[Event], end: End, act: Act, kind: str = "", number: int = 0) -> int:
    """The position of the event of that number, from 0, of an end: what it did, and with which kind of frame."""
    found = [
        position
        for position, event in enumerate(events)
        if (event.end, event.act) == (end, act)
        and (not kind or (event.frame is not None and event.frame.WhichOneof("frame") == kind))
    ]
    return found[number]


def without(events: Sequence[Event], *positions: int) -> Events:
    """The events but for some."""
    return [event for position, event in enumerate(events) if position not in positions]


def before(events: Sequence[Event], position: int, *more: Event) -> Events:
    """The events, with others before one."""
    return [*events[:position], *more, *events[position:]]


def changed(
    events: Sequence[Event], kind: str, number: int, change: Callable[[lane_pb2.ExchangeRequest], object]
) -> Events:
    """The events, with a frame from the producer changed at both of its ends."""
    made = list(events)
    for end, act in ((End.PRODUCER, Act.SENT), (End.CONSUMER, Act.RECEIVED)):
        position = at(events, end, act, kind, number)
        frame = lane_pb2.ExchangeRequest()
        frame.MergeFrom(events[position].frame)  # type: ignore[arg-type]
        change(frame)
        made[position] = replace(events[position], frame=frame)
    return made


def answered(
    events: Sequence[Event], kind: str, number: int, change: Callable[[lane_pb2.ExchangeResponse], object]
) -> Events:
    """The events, with a frame from the consumer changed at both of its ends."""
    made = list(events)
    for end, act in ((End.CONSUMER, Act.SENT), (End.PRODUCER, Act.RECEIVED)):
        position = at(events, end, act, kind, number)
        frame = lane_pb2.ExchangeResponse()
        frame.MergeFrom(events[position].frame)  # type: ignore[arg-type]
        change(frame)
        made[position] = replace(events[position], frame=frame)
    return made


def sent(frame: lane_pb2.ExchangeRequest) -> tuple[Event, Event]:
    """A frame that is sent and arrives at once."""
    return Event(End.PRODUCER, Act.SENT, frame), Event(End.CONSUMER, Act.RECEIVED, frame)


def answer(frame: lane_pb2.ExchangeResponse) -> tuple[Event, Event]:
    """A frame of the consumer that is sent and arrives at once."""
    return Event(End.CONSUMER, Act.SENT, frame), Event(End.PRODUCER, Act.RECEIVED, frame)


def texts(*numbers: int) -> lane_pb2.ExchangeRequest:
    """A frame with items."""
    items = [lane_pb2.Item(text=str(number)) for number in numbers]
    return lane_pb2.ExchangeRequest(items=lane_pb2.LaneItems(items=items))


def a_frame_is_lost(events: Sequence[Event]) -> Events:
    return without(events, at(events, End.CONSUMER, Act.RECEIVED, "items", 4))


def a_frame_was_never_sent(events: Sequence[Event]) -> Events:
    sending, receiving = (
        at(events, *what, "items", 4) for what in ((End.PRODUCER, Act.SENT), (End.CONSUMER, Act.RECEIVED))
    )
    return without(events, sending, receiving)


def a_frame_arrives_twice(events: Sequence[Event]) -> Events:
    position = at(events, End.CONSUMER, Act.RECEIVED, "items", 4)
    return before(events, position, events[position])


def a_frame_is_sent_twice(events: Sequence[Event]) -> Events:
    position = at(events, End.PRODUCER, Act.RECEIVED, "credit", -1) + 1
    frame = events[at(events, End.PRODUCER, Act.SENT, "items", -1)].frame
    assert isinstance(frame, lane_pb2.ExchangeRequest)
    return before(events, position, *sent(frame))


def two_frames_change_places(events: Sequence[Event]) -> Events:
    made = list(events)
    one, other = (at(events, End.CONSUMER, Act.RECEIVED, "items", number) for number in (4, 5))
    made[one], made[other] = events[other], events[one]
    return made


def an_item_changes_in_a_frame(events: Sequence[Event]) -> Events:
    return changed(events, "items", 4, lambda frame: setattr(frame.items.items[0], "text", "100"))


def the_window_is_exceeded(events: Sequence[Event]) -> Events:
    """The producer sends an item for which its credit comes later."""
    made = list(events)
    position = at(events, End.PRODUCER, Act.RECEIVED, "credit", 0)
    made.insert(at(events, End.PRODUCER, Act.SENT, "items", 3) + 1, made.pop(position))
    return made


def items_come_before_accepted(events: Sequence[Event]) -> Events:
    made = list(events)
    accepted = made.pop(at(events, End.PRODUCER, Act.RECEIVED, "accepted"))
    made.insert(at(made, End.PRODUCER, Act.SENT, "items") + 1, accepted)
    return made


def items_come_after_the_end(events: Sequence[Event]) -> Events:
    position = at(events, End.CONSUMER, Act.RECEIVED, "end") + 1
    return before(events, position, *sent(texts(20)))


def credit_for_more_than_arrived(events: Sequence[Event]) -> Events:
    return answered(events, "credit", 0, lambda frame: setattr(frame.credit, "taken_items", 10))


def credit_decreases(events: Sequence[Event]) -> Events:
    return answered(events, "credit", 3, lambda frame: setattr(frame.credit, "taken_items", 1))


def the_limit_decreases(events: Sequence[Event]) -> Events:
    return answered(events, "credit", 3, lambda frame: setattr(frame.credit, "limit_items", 2))


def a_lane_of_no_items_is_accepted(events: Sequence[Event]) -> Events:
    return answered(events, "accepted", 0, lambda frame: setattr(frame.accepted, "limit_items", 0))


def the_lane_is_accepted_twice(events: Sequence[Event]) -> Events:
    position = at(events, End.PRODUCER, Act.RECEIVED, "accepted")
    frame = events[position].frame
    assert isinstance(frame, lane_pb2.ExchangeResponse)
    return before(events, position + 1, *answer(frame))


def the_lane_is_opened_twice(events: Sequence[Event]) -> Events:
    frame = events[0].frame
    assert isinstance(frame, lane_pb2.ExchangeRequest)
    return before(events, at(events, End.PRODUCER, Act.SENT, "items"), *sent(frame))


def the_end_is_lost(events: Sequence[Event]) -> Events:
    return without(events, at(events, End.CONSUMER, Act.RECEIVED, "end"))


def the_end_is_not_sent(events: Sequence[Event]) -> Events:
    return without(events, at(events, End.PRODUCER, Act.SENT, "end"), at(events, End.CONSUMER, Act.RECEIVED, "end"))


def the_end_comes_twice(events: Sequence[Event]) -> Events:
    position = at(events, End.PRODUCER, Act.SENT, "end")
    frame = events[position].frame
    assert isinstance(frame, lane_pb2.ExchangeRequest)
    return before(events, at(events, End.CONSUMER, Act.RECEIVED, "end") + 1, *sent(frame))


def the_end_counts_wrong(events: Sequence[Event]) -> Events:
    return changed(events, "end", 0, lambda frame: setattr(frame.end, "item_count", 19))


def a_fault_is_taken_for_a_clean_end(events: Sequence[Event]) -> Events:
    return changed(events, "end", 0, lambda frame: frame.end.outcome.MergeFromString(b"\x08\x0a"))


def the_call_ends_before_the_half_close(events: Sequence[Event]) -> Events:
    made = list(events)
    closed = made.pop(at(events, End.CONSUMER, Act.CLOSED))
    made.insert(at(made, End.CONSUMER, Act.READ_TO_END), closed)
    return made


def the_status_is_lost(events: Sequence[Event]) -> Events:
    return without(events, at(events, End.CONSUMER, Act.CLOSED))


def a_break_is_reported_as_a_clean_end(events: Sequence[Event]) -> Events:
    """The call broke before the end came, and the node saw a clean end all the same."""
    position = at(events, End.CONSUMER, Act.RECEIVED, "end")
    reported = events[at(events, End.CONSUMER, Act.REPORTED)]
    return [*events[:position], Event(End.CONNECTION, Act.BROKE), Event(End.CONSUMER, Act.BROKE), reported]


def a_break_is_reported_as_success(events: Sequence[Event]) -> Events:
    """The status never came, and the producer reports success all the same."""
    position = at(events, End.PRODUCER, Act.CLOSED)
    return [*events[:position], Event(End.PRODUCER, Act.BROKE), *events[position + 1 :]]


def a_clean_end_is_reported_as_broken(events: Sequence[Event]) -> Events:
    made = list(events)
    position = at(events, End.CONSUMER, Act.REPORTED)
    made[position] = replace(events[position], ending=Ending.BROKEN)
    return made


def the_node_takes_less_than_arrived(events: Sequence[Event]) -> Events:
    made = list(events)
    position = at(events, End.CONSUMER, Act.REPORTED)
    made[position] = replace(events[position], taken=19, stopped=False)
    return made


def credit_comes_after_the_stop(events: Sequence[Event]) -> Events:
    position = at(events, End.PRODUCER, Act.RECEIVED, "stop") + 1
    credit = lane_pb2.LaneCredit(taken_items=7, limit_items=3)
    return before(events, position, *answer(lane_pb2.ExchangeResponse(credit=credit)))


def the_stop_comes_twice(events: Sequence[Event]) -> Events:
    position = at(events, End.PRODUCER, Act.RECEIVED, "stop")
    frame = events[position].frame
    assert isinstance(frame, lane_pb2.ExchangeResponse)
    return before(events, position + 1, *answer(frame))


def items_are_sent_after_the_stop(events: Sequence[Event]) -> Events:
    position = at(events, End.PRODUCER, Act.RECEIVED, "stop") + 1
    count = events[at(events, End.PRODUCER, Act.SENT, "end")].frame
    assert isinstance(count, lane_pb2.ExchangeRequest)
    return before(events, position, *sent(texts(count.end.item_count)))


OF_A_WHOLE_LANE: tuple[Mutant, ...] = (
    a_frame_is_lost,
    a_frame_was_never_sent,
    a_frame_arrives_twice,
    a_frame_is_sent_twice,
    two_frames_change_places,
    an_item_changes_in_a_frame,
    the_window_is_exceeded,
    items_come_before_accepted,
    items_come_after_the_end,
    credit_for_more_than_arrived,
    credit_decreases,
    the_limit_decreases,
    a_lane_of_no_items_is_accepted,
    the_lane_is_accepted_twice,
    the_lane_is_opened_twice,
    the_end_is_lost,
    the_end_is_not_sent,
    the_end_comes_twice,
    the_end_counts_wrong,
    a_fault_is_taken_for_a_clean_end,
    the_call_ends_before_the_half_close,
    the_status_is_lost,
    a_break_is_reported_as_a_clean_end,
    a_break_is_reported_as_success,
    a_clean_end_is_reported_as_broken,
    the_node_takes_less_than_arrived,
)
"""Changes of the record of a lane of 20 items, in frames of one, within a window of 3 items."""
OF_A_STOPPED_LANE: tuple[Mutant, ...] = (
    credit_comes_after_the_stop,
    the_stop_comes_twice,
    items_are_sent_after_the_stop,
)
"""Changes of the record of a lane that its consumer stops."""
