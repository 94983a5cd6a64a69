"""Names, messages and policies of channels, their bounds, and how they travel."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.json_text import dump_json
from lanemesh.json_values import copy_json
from lanemesh.rendering import valid_unicode
from lanemesh.v1 import channel_pb2

MESH_PREFIX = "mesh:"
"""How the names of channels begin that belong to the whole mesh."""
MAX_NAME = 128
"""Maximum length of the name of a channel, a publisher or a subscriber, in characters."""
MAX_MESSAGE_BYTES = 1024 * 1024
"""Maximum size of a message as JSON text: 1 MiB."""
DEFAULT_LIMIT = 256
"""Default limit of waiting messages of a subscriber."""
MAX_LIMIT = 65_536
"""Maximum limit of waiting messages of a subscriber."""


class Overflow(Enum):
    """What happens when the limit of a subscriber is reached."""

    BLOCK = "block"
    """The publisher waits for it, at most 5 s; then the subscription ends."""
    DROP_OLDEST = "drop_oldest"
    """The oldest message that waits is dropped and counted."""

    @property
    def wire(self) -> channel_pb2.Overflow.ValueType:
        """As the protocol has it."""
        return channel_pb2.OVERFLOW_BLOCK if self is Overflow.BLOCK else channel_pb2.OVERFLOW_DROP_OLDEST


@dataclass(frozen=True, slots=True)
class Address:
    """Which channel."""

    run_id: str
    """The run that it belongs to; means nothing if it belongs to the mesh."""
    name: str
    """Its name."""

    @property
    def is_global(self) -> bool:
        """It belongs to the whole mesh."""
        return self.name.startswith(MESH_PREFIX)

    @property
    def wire(self) -> channel_pb2.ChannelName:
        """As the protocol has it."""
        return channel_pb2.ChannelName(run_id="" if self.is_global else self.run_id, name=self.name)


@dataclass(frozen=True, slots=True)
class Message:
    """One message."""

    value: str
    """A JSON value, as text."""
    publisher: str
    """Its publisher."""
    size: int
    """Bytes of the value."""


class SubscriptionLink(Protocol):
    """One subscription, whatever carries it."""

    @property
    def dropped(self) -> int:
        """Messages that were dropped for it so far."""

    @property
    def waiting_count(self) -> int:
        """Number of messages that can be taken without waiting."""

    def take(self) -> Message | None:
        """The next message, if one is here."""

    def is_over(self) -> bool:
        """No more messages follow, because the channel is closed. Raises LanemeshError if it was too slow or its connection
        broke."""

    async def changed(self) -> None:
        """Waits until a message is available or no more follow."""

    async def leave(self) -> None:
        """Ends the subscription."""


class ChannelLink(Protocol):
    """The way to the broker: in this process, or to an orchestrator elsewhere."""

    async def publish(self, address: Address, message: Message) -> int:
        """Delivers a message to every subscriber. Returns the number that got it."""

    async def subscribe(self, address: Address, name: str, overflow: Overflow, limit: int) -> SubscriptionLink:
        """Subscribes; registered when it returns."""

    async def close(self, address: Address) -> None:
        """Closes a channel."""


Reach = Callable[[], ChannelLink]
"""Creates the link to the broker at the first use. Raises LanemeshError if there is none."""


def channel_fault(code: Code, reason: str, address: Address, what: str) -> Fault:
    """A fault of a channel: `what` follows its name."""
    name = valid_unicode(address.name if len(address.name) <= MAX_NAME else f"{address.name[:MAX_NAME]}...")
    return Fault(code=code, reason=reason, message=f'the channel "{name}": {what}', details={"channel": name})


def check_name(address: Address) -> None:
    """Raises LanemeshError unless it may be the name of a channel, and of a run."""
    if valid_unicode(address.run_id) != address.run_id:
        what = f"the id of its run, {valid_unicode(address.run_id[:MAX_NAME])}, is not valid Unicode"
        raise LanemeshError(channel_fault(Code.INVALID_ARGUMENT, "bad-channel-name", address, what))
    if not 1 <= len(address.name) <= MAX_NAME or not address.name.isprintable():
        what = f"the name of a channel is 1 to {MAX_NAME} printable characters; this one has {len(address.name):,}"
        raise LanemeshError(channel_fault(Code.INVALID_ARGUMENT, "bad-channel-name", address, what))


def check_limit(address: Address, limit: int) -> None:
    """Raises LanemeshError unless as many messages may wait for a subscriber: 1 to 65,536."""
    if not 1 <= limit <= MAX_LIMIT:
        what = f"the limit of a subscriber is a number from 1 to {MAX_LIMIT:,}, and {limit} was given"
        raise LanemeshError(channel_fault(Code.INVALID_ARGUMENT, "bad-limit", address, what))


def check_message(message: Message) -> None:
    """Raises LanemeshError if a message is too large."""
    if message.size > MAX_MESSAGE_BYTES:
        what = f"a message of {message.size:,} bytes is over the limit of {MAX_MESSAGE_BYTES:,} (1 MiB)"
        raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="message-too-large", message=what))


def make_message(address: Address, value: Any, publisher: str) -> Message:
    """A JSON value as a message. Raises LanemeshError if it is none, or is over 1 MiB."""
    try:
        text = dump_json(copy_json(value))
    except (TypeError, ValueError, RecursionError) as error:
        what = f"a message must be a JSON value; this one is not: {error}"
        raise LanemeshError(channel_fault(Code.INVALID_ARGUMENT, "bad-message", address, what)) from None
    message = Message(text, publisher, len(text) if text.isascii() else len(text.encode()))
    check_message(message)
    return message


def read_message(address: Address, wire: channel_pb2.ChannelMessage) -> Message:
    """A message of a client that may be anybody's. Raises LanemeshError if it is not a JSON value that a lane could
    carry, or is over 1 MiB."""
    message = Message(wire.value_json, wire.publisher[:MAX_NAME], len(wire.value_json.encode()))
    check_message(message)
    try:
        # A number such as 1e999, or deep nesting, could be parsed here, but would fail the subscriber.
        copy_json(load_value(wire.value_json))
    except (ValueError, RecursionError) as error:
        what = f"a message must be the text of a JSON value; this one is invalid: {error}"
        raise LanemeshError(channel_fault(Code.INVALID_ARGUMENT, "bad-message", address, what)) from None
    return message


def load_value(text: str) -> Any:
    """The value of a message. Raises ValueError or RecursionError if it is not JSON."""
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")
