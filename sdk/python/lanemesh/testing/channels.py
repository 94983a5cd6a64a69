"""The channels of a node in a test: its published messages are kept, and it gets messages when it subscribes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lanemesh.channels import LocalChannels
from lanemesh.channels.local import LocalSubscription
from lanemesh.channels.messages import Address, Message, Overflow, load_value, make_message


class TrialChannels(LocalChannels):
    """A broker for one node."""

    def __init__(self, run_id: str, messages: Iterable[tuple[str, Any]] = ()) -> None:
        """`messages`: pairs of channel and message, published when the node first subscribes to the channel."""
        super().__init__()
        self.published: list[tuple[str, Any]] = []
        """Channel and message of all that the node has published, in order."""
        self._messages = list(messages)
        self.broker.begin(run_id)

    async def publish(self, address: Address, message: Message) -> int:
        """Publishes, and keeps the message."""
        self.published.append((address.name, load_value(message.value)))
        return await super().publish(address, message)

    async def subscribe(self, address: Address, name: str, overflow: Overflow, limit: int) -> LocalSubscription:
        """Subscribes, and gets the first subscriber its messages. Raises LanemeshError if one is not a JSON value."""
        subscription = await super().subscribe(address, name, overflow, limit)
        waiting = [message for channel, message in self._messages if channel == address.name]
        self._messages = [pair for pair in self._messages if pair[0] != address.name]
        for message in waiting:
            self.broker.publish(address, make_message(address, message, "test"))
        return subscription
