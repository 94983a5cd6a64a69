"""Limits the requests of each caller: their rate, and how many are served at once."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from lanemesh_orchestrator.gateway.guard.refusal import refuse
from lanemesh_orchestrator.gateway.guard.tokens import has_token
from lanemesh_orchestrator.gateway.options import GatewayOptions

BURST_SECONDS = 5.0
"""How long a caller that was idle may send at any rate: the requests of so many seconds."""
MAX_CALLERS = 10_000
"""Most callers that are remembered. Of further ones the one that was idle for the longest time is forgotten."""
SHORT = frozenset({"/healthz"})
"""Paths that only the rate limits: a full gateway is still healthy."""


@dataclass(slots=True)
class Caller:
    """What a token or an address uses."""

    allowance: float
    """Requests that it may send now."""
    updated: float
    """When the allowance was computed, in seconds."""
    active: int = 0
    """Requests that are served now."""


class Limits:
    """The usage of all callers: decisions without input or output."""

    def __init__(self, options: GatewayOptions, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: the present time in seconds."""
        self._options = options
        self._clock = clock
        self._callers: OrderedDict[str, Caller] = OrderedDict()
        self.active = 0
        """Requests that are served now, of all callers."""

    @property
    def callers(self) -> int:
        """Number of callers that are remembered."""
        return len(self._callers)

    def enter(self, name: str, *, is_short: bool = False) -> float | None:
        """A caller sends a request. `is_short`: only the rate limits it.

        Returns:
            None if it is served, which `leave` ends; otherwise the seconds after which a further request may be served.
        """
        caller = self._caller(name)
        burst = self._options.rate * BURST_SECONDS
        now = self._clock()
        caller.allowance = min(burst, caller.allowance + (now - caller.updated) * self._options.rate)
        caller.updated = now
        if caller.allowance < 1.0:
            return (1.0 - caller.allowance) / self._options.rate
        if caller.active >= self._options.max_requests_per_token and not is_short:
            return 1.0
        caller.allowance -= 1.0
        caller.active += 1
        self.active += 1
        return None

    def leave(self, name: str) -> None:
        """A request has ended."""
        self._callers[name].active -= 1
        self.active -= 1

    def _caller(self, name: str) -> Caller:
        found = self._callers.get(name)
        if found is None:
            found = self._callers[name] = Caller(self._options.rate * BURST_SECONDS, self._clock())
            self._evict()
        self._callers.move_to_end(name)
        return found

    def _evict(self) -> None:
        if len(self._callers) <= MAX_CALLERS:
            return
        idle = next((name for name, caller in self._callers.items() if not caller.active), None)
        if idle is not None:  # there are fewer active requests than callers
            del self._callers[idle]


class LimitGuard:
    """Answers requests beyond the limits of their caller with 429, and beyond those of the gateway with 503."""

    def __init__(self, app: ASGIApp, options: GatewayOptions) -> None:
        self._app = app
        self._options = options
        self._limits = Limits(options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes or refuses a request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        is_short = scope["path"] in SHORT
        if self._limits.active >= self._options.max_requests and not is_short:
            message = f"the gateway serves {self._options.max_requests:,} requests, its maximum. Retry later"
            await refuse(scope, receive, send, 503, "gateway-full", message, {"Retry-After": "1"})
            return
        name = caller_of(scope, self._options.token.encode())
        wait = self._limits.enter(name, is_short=is_short)
        if wait is not None:
            message = (
                f"this caller may send {self._options.rate:g} requests a second, and have "
                f"{self._options.max_requests_per_token:,} at once. Retry later"
            )
            headers = {"Retry-After": str(max(1, math.ceil(wait)))}
            await refuse(scope, receive, send, 429, "too-many-requests", message, headers)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._limits.leave(name)


def caller_of(scope: Scope, token: bytes) -> str:
    """The name of a caller: its token if it has that of the gateway, otherwise its address; of IPv6 its network of 64 bits."""
    if token and has_token(scope, token):
        return "token"
    client = scope.get("client")
    return _caller_at(str(client[0])[:80]) if client else "unknown"


@lru_cache(maxsize=1_024)
def _caller_at(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return f"{int(address) >> 64:x}::/64"
    return str(getattr(address, "ipv4_mapped", None) or address)
