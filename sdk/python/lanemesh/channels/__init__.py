"""Channels: named broadcast outside the graph, between the nodes of a run and its clients, or across the whole mesh."""

from lanemesh.channels.channels import Channels, Subscription
from lanemesh.channels.local import LocalChannels
from lanemesh.channels.messages import MESH_PREFIX, ChannelLink, Overflow

__all__ = [
    "MESH_PREFIX",
    "ChannelLink",
    "Channels",
    "LocalChannels",
    "Overflow",
    "Subscription",
]
