"""gRPC channels and servers as every part of Lanemesh sets them up: keepalive, message limit, pools."""

from __future__ import annotations

import asyncio
import re
import time
from weakref import WeakSet

import grpc
import grpc.aio

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import MAX_MESSAGE_BYTES

MAX_STREAMS_PER_CHANNEL = 64
"""Most lanes on one connection."""
DIAL_SECONDS = 1.0
"""Time after which a channel that was told to connect has begun to."""

# Without ping_timeout_ms a frozen peer is noticed only after 60 s.
_KEEPALIVE: list[tuple[str, int]] = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
]

CHANNEL_OPTIONS: list[tuple[str, int]] = [
    *_KEEPALIVE,
    ("grpc.use_local_subchannel_pool", 1),
    (
        "grpc.initial_reconnect_backoff_ms",
        250,
    ),  # a peer that is back after a while is not left alone for up to two minutes
    ("grpc.max_reconnect_backoff_ms", 2_000),
]
"""Options of every channel. Each has its own connection, so that channels to one peer do not share a stream limit."""

SERVER_OPTIONS: list[tuple[str, int]] = [
    *_KEEPALIVE,
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # or clients that keep alive are cut off: "Too many pings"
    ("grpc.http2.bdp_probe", 0),  # a stream keeps its window, so that HTTP/2 flow control is the backpressure
    ("grpc.http2.lookahead_bytes", 256 * 1024),  # the window: media moves 1.6 times as fast as through the usual 64 KiB
    ("grpc.so_reuseport", 0),  # a port in use is an error, not a second listener
]
"""Options of every server."""


_SCHEMES = ("dns:", "unix:", "unix-abstract:", "vsock:", "ipv4:", "ipv6:", "xds:")
"""Beginnings of addresses that are not "host:port", and left to gRPC as they stand."""
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+(%[^\s\]]+)?\]|[^\s:/\[\]]+):(?P<port>[0-9]{1,5})")


def check_address(address: str) -> None:
    """Raises LanemeshError unless this is "host:port", or one of gRPC's own kinds, such as "unix:/path" and "dns:///host:port".

    gRPC itself would dial port 443 where none is said, and another one than was meant where it is too large.
    """
    if address.startswith(_SCHEMES):
        return
    found = _HOST_PORT.fullmatch(address)
    if found is None or not 1 <= int(found["port"]) <= 65_535:
        message = f'"{address}" is no address: write HOST:PORT, such as 127.0.0.1:7070; a port is 1 to 65535'
        raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-address", message=message))


def dial(address: str) -> grpc.aio.Channel:
    """A channel to "host:port", without encryption."""
    return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)


class ConnectionPool:
    """Connections to peers: any number of calls share the first one of a peer, lanes get at most 64 to a connection.

    A connection that is gone is not used again: the peer's name may lead elsewhere by now, such as to a container that took
    the place of another, and a gRPC channel goes on dialling where it led before, for half a minute and more.
    """

    def __init__(self) -> None:
        self._channels: dict[str, list[grpc.aio.Channel]] = {}
        self._streams: dict[grpc.aio.Channel, int] = {}
        self._dialled: dict[grpc.aio.Channel, float] = {}
        self._gone: WeakSet[grpc.aio.Channel] = WeakSet()
        """Those that somebody still has, such as for a lane that a server finishes before it ends."""

    def channel(self, address: str) -> grpc.aio.Channel:
        """The peer's first connection, for calls other than lanes."""
        return self._peer(address)[0]

    def acquire(self, address: str) -> grpc.aio.Channel:
        """A connection to the peer with room for one more lane. Give it back with `release`."""
        for channel in self._peer(address):
            if self._streams[channel] < MAX_STREAMS_PER_CHANNEL:
                break
        else:
            channel = self._add(address)
        self._streams[channel] += 1
        return channel

    def release(self, channel: grpc.aio.Channel) -> None:
        """Gives back what `acquire` gave; also after `close`."""
        if channel in self._streams:
            self._streams[channel] -= 1

    async def close(self) -> None:
        """Closes every connection; calls still under way are cancelled."""
        channels = [*(channel for peer in self._channels.values() for channel in peer), *self._gone]
        self._channels.clear()
        self._streams.clear()
        self._dialled.clear()
        self._gone.clear()
        await asyncio.gather(*(channel.close() for channel in channels))

    def _peer(self, address: str) -> list[grpc.aio.Channel]:
        peer = self._channels.setdefault(address, [])
        for channel in [channel for channel in peer if self._is_gone(channel)]:
            peer.remove(channel)
            del self._streams[channel], self._dialled[channel]
            self._gone.add(channel)
        if not peer:
            self._add(address)
        return peer

    def _is_gone(self, channel: grpc.aio.Channel) -> bool:
        state = channel.get_state()
        if state is grpc.ChannelConnectivity.IDLE:  # as before it began to connect
            return time.monotonic() - self._dialled[channel] > DIAL_SECONDS
        return state is grpc.ChannelConnectivity.TRANSIENT_FAILURE

    def _add(self, address: str) -> grpc.aio.Channel:
        channel = dial(address)
        channel.get_state(try_to_connect=True)
        self._channels[address].append(channel)
        self._streams[channel] = 0
        self._dialled[channel] = time.monotonic()
        return channel
