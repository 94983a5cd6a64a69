"""gRPC channels and servers as every part of Lanemesh sets them up: keepalive, message limit, pools."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import time
from dataclasses import replace
from weakref import WeakSet

import grpc
import grpc.aio

from lanemesh._aio.forks import keep_in_children
from lanemesh._aio.loops import misuse
from lanemesh._grpc.bearer import BearerChannel, BearerToken
from lanemesh._grpc.certificates import channel_credentials, name_options
from lanemesh._grpc.security import Security
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import MAX_MESSAGE_BYTES
from lanemesh.rendering import rendered

MAX_STREAMS_PER_CHANNEL = 64
"""Maximum number of lanes on one connection."""
MAX_ADDRESS = 300
"""Most characters of a wrong address that an error shows; a DNS name has 253 at most."""
DIAL_SECONDS = 1.0
"""Time after which a channel has begun to connect."""

# Without ping_timeout_ms a frozen peer is noticed only after 60 s.
_COMMON: list[tuple[str, int]] = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.http2.bdp_probe", 0),  # a stream keeps its window, so that HTTP/2 flow control is the backpressure
    ("grpc.http2.lookahead_bytes", 256 * 1024),  # the window: media moves 1.6 times as fast as through the usual 64 KiB
]
"""Options of every channel and server."""

CHANNEL_OPTIONS: list[tuple[str, int]] = [
    *_COMMON,
    ("grpc.use_local_subchannel_pool", 1),
    (
        "grpc.initial_reconnect_backoff_ms",
        250,
    ),  # a peer that is back after a while is not left alone for up to two minutes
    ("grpc.max_reconnect_backoff_ms", 2_000),
]
"""Options of every channel. Each has its own connection, so that channels to one peer do not share a stream limit."""

SERVER_OPTIONS: list[tuple[str, int]] = [
    *_COMMON,
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # or clients that keep alive are cut off: "Too many pings"
    ("grpc.so_reuseport", 0),  # a port in use is an error, not a second listener
    # How many calls may have arrived that Python has not taken. By default gRPC drops some of more than 1,000 at random and all of
    # more than 3,000, without a word about why. A refusal of our own says what to do next.
    ("grpc.server.max_pending_requests", 16_000),
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
]
"""Options of every server."""


_SCHEMES = ("dns:", "unix:", "unix-abstract:", "vsock:", "ipv4:", "ipv6:", "xds:")
"""Beginnings of addresses that are not "host:port", and left to gRPC as they stand."""
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+(%[^\s\]]+)?\]|[^\s:/\[\]]{1,253}):(?P<port>[0-9]{1,5})")


def check_address(address: str) -> None:
    """Raises LanemeshError unless this is "host:port", or one of gRPC's own kinds, such as "unix:/path" and "dns:///host:port"."""
    if not address.startswith(_SCHEMES) or not address.isprintable():
        check_host_port(address)


def check_host_port(address: str) -> None:
    """Raises LanemeshError unless this is "host:port".

    gRPC itself would dial port 443 if none is given, and a wrong port if the number is too large.
    """
    found = _HOST_PORT.fullmatch(address)
    if found is None or not 1 <= int(found["port"]) <= 65_535 or not address.isprintable():
        is_short = address.isprintable() and len(address) <= MAX_ADDRESS
        shown = f'"{address}"' if is_short else rendered(address, MAX_ADDRESS)
        message = f"{shown} is not an address: write HOST:PORT, such as 127.0.0.1:7070; a port is 1 to 65535"
        raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-address", message=message))


NO_PROXY: tuple[str, int] = ("grpc.enable_http_proxy", 0)
"""The option of a channel that takes no proxy of the environment."""


def dial(address: str, *, proxy: bool = False, security: Security | None = None) -> grpc.aio.Channel:
    """A channel to "host:port". `proxy`: one of the environment is taken, unless the address is loopback. `security`: whether it
    uses TLS, and the token that its calls carry; None: what the environment sets.

    Raises:
        LanemeshError: this process was forked from one that had used gRPC, files of `security` cannot be used ("bad-security"), or
            its token would leave this machine without encryption ("insecure-token").
    """
    check_not_forked()
    security = security or Security.from_environment()
    stays_here = address.startswith("unix") or is_loopback(host_of(address))
    has_token = bool(security.token or security.token_file)
    options = [*CHANNEL_OPTIONS, *([NO_PROXY] if stays_here or not proxy else [])]
    if security.dials_tls:
        credentials = channel_credentials(security)
        channel = grpc.aio.secure_channel(address, credentials, options=[*options, *name_options(security)])
    elif has_token and not stays_here:
        message = (
            f"the token for {address} would be sent without encryption. Set LANEMESH_TLS_CA to the certificate authority of the "
            "mesh, or to `system`; or remove LANEMESH_TOKEN"
        )
        raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="insecure-token", message=message))
    else:
        channel = grpc.aio.insecure_channel(address, options=options)
    return BearerChannel(channel, BearerToken(security)) if has_token or security.forwards_tokens else channel


def check_files(security: Security) -> None:
    """Raises LanemeshError ("bad-security") if connections could not be made for lack of a file, such as that of the token."""
    if security.dials_tls:
        channel_credentials(security)
    BearerToken(security)


def host_of(address: str) -> str:
    """The host of "host:port", also after the beginning of a kind of address, such as "dns:///"."""
    return address.rsplit("/", 1)[-1].removeprefix("ipv4:").removeprefix("ipv6:").rpartition(":")[0].strip("[]")


def is_loopback(host: str) -> bool:
    """Whether other machines cannot reach a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_users: list[int] = []
"""The process that has used gRPC: its id, once it has."""


def check_not_forked() -> None:
    """Notes that this process uses gRPC. Raises LanemeshError if the process from which it was forked has used it: its threads are
    missing here, so that calls would hang."""
    if not _users:
        _users.append(os.getpid())
        keep_in_children(
            "grpc.aio._channel", "grpc.aio._call", "grpc.aio._server"
        )  # their ends need the missing threads
    elif _users[0] != os.getpid():
        message = (
            "gRPC does not work in a process that was forked from one that has used it. Start the process by multiprocessing's "
            '"spawn" or "forkserver", or fork before the first client, mesh or server is used'
        )
        raise misuse("forked", message)


class ConnectionPool:
    """Connections to peers: calls share the first connection of a peer, and at most 64 lanes share one connection.

    A broken connection is not used again: the peer's name may have a new address, such as that of a new container, while a gRPC
    channel dials the old one for half a minute and more.
    """

    def __init__(self, *, proxy: bool = False, security: Security | None = None) -> None:
        """`proxy`: a proxy of the environment is taken, `security`: TLS and the token, as with `dial`."""
        self._proxy = proxy
        self._security = security
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channels: dict[str, list[grpc.aio.Channel]] = {}
        self._streams: dict[grpc.aio.Channel, int] = {}
        self._dialled: dict[grpc.aio.Channel, float] = {}
        self._gone: WeakSet[grpc.aio.Channel] = WeakSet()
        """Connections that are still in use, such as for a lane that a draining server finishes."""

    def forward_tokens(self) -> None:
        """Lets calls carry the token of `token_of_caller` where one is set. No effect on connections that exist."""
        self._security = replace(self._security or Security.from_environment(), forwards_tokens=True)

    def channel(self, address: str) -> grpc.aio.Channel:
        """The peer's first connection, for calls other than lanes."""
        return self._peer(address)[0]

    def acquire(self, address: str) -> grpc.aio.Channel:
        """A connection to the peer with capacity for one more lane. Return it with `release`."""
        for channel in self._peer(address):
            if self._streams[channel] < MAX_STREAMS_PER_CHANNEL:
                break
        else:
            channel = self._add(address)
        self._streams[channel] += 1
        return channel

    def release(self, channel: grpc.aio.Channel) -> None:
        """Releases a connection of `acquire`; also after `close`."""
        if channel in self._streams:
            self._streams[channel] -= 1

    async def close(self) -> None:
        """Closes every connection; calls still under way are cancelled."""
        channels = [*(channel for peer in self._channels.values() for channel in peer), *self._gone]
        own = self._loop in (None, asyncio.get_running_loop())
        self._forget()
        self._loop = None
        if not own:  # they have ended with their event loop
            return
        await asyncio.gather(*(channel.close() for channel in channels))

    def _peer(self, address: str) -> list[grpc.aio.Channel]:
        self._enter_loop()
        peer = self._channels.setdefault(address, [])
        for channel in [channel for channel in peer if self._is_gone(channel)]:
            peer.remove(channel)
            del self._streams[channel], self._dialled[channel]
            self._gone.add(channel)
        if not peer:
            self._add(address)
        return peer

    def _enter_loop(self) -> None:
        """Starts anew in another event loop if the one before is closed. Raises LanemeshError if that one still works."""
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return
        if self._loop is not None and not self._loop.is_closed():
            message = (
                "this client belongs to another event loop, which still exists: make one client for each event loop"
            )
            raise misuse("other-loop", message)
        self._forget()
        self._loop = loop

    def _forget(self) -> None:
        self._channels.clear()
        self._streams.clear()
        self._dialled.clear()
        self._gone.clear()

    def _is_gone(self, channel: grpc.aio.Channel) -> bool:
        state = channel.get_state()
        if state is grpc.ChannelConnectivity.IDLE:  # as before it began to connect
            return time.monotonic() - self._dialled[channel] > DIAL_SECONDS
        return state is grpc.ChannelConnectivity.TRANSIENT_FAILURE

    def _add(self, address: str) -> grpc.aio.Channel:
        channel = dial(address, proxy=self._proxy, security=self._security)
        channel.get_state(try_to_connect=True)
        self._channels[address].append(channel)
        self._streams[channel] = 0
        self._dialled[channel] = time.monotonic()
        return channel
