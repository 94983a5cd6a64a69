"""Fetches pages of the web: from public hosts, as their robots.txt permits, within limits of time and size."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx2
from lanemesh.extend import CallFailed, in_thread
from protego import Protego

from lanemesh_services.search.errors import page_refused, page_unreadable
from lanemesh_services.shared.http_transport import CheckedTransport

AGENT = "lanemesh"
"""The name by which robots.txt files know this reader."""
MAX_REDIRECTS = 5
"""Most redirects of a page."""
MAX_ROBOTS_BYTES = 512_000
"""Bytes of a robots.txt that are read; RFC 9309 asks for at least 500 KiB."""
ROBOTS_SECONDS = 3_600.0
"""How long the robots.txt of a host is kept."""
FAILED_SECONDS = 30.0
"""How long a host is not asked again after its server failed to send its robots.txt."""
MAX_HOSTS = 1_000
"""Most hosts whose robots.txt is kept."""
MAX_KEPT_BYTES = 4_000_000
"""Most bytes of all robots.txt that are kept; their rules take up to some 50 times as much memory."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Fetched:
    """A page."""

    url: str
    """Its address, after redirects."""
    content: bytes
    mime_type: str
    charset: str | None


@dataclass(frozen=True, slots=True)
class _Robots:
    """The robots.txt of a host."""

    rules: Protego | bool
    """Its rules, or whether all of the host is permitted."""
    failed: int = 0
    """The status with which its server failed; 0: it did not."""
    size: int = 0
    """Its bytes."""
    read: float = field(default_factory=time.monotonic)
    """When it was read."""

    @property
    def is_current(self) -> bool:
        """It is not to be read again yet."""
        return time.monotonic() - self.read <= (FAILED_SECONDS if self.failed else ROBOTS_SECONDS)


class PageReader:
    """Fetches pages. The robots.txt of hosts is kept for all runs."""

    def __init__(
        self, verify: ssl.SSLContext, *, hosts: Sequence[str], timeout: float, max_bytes: int, robots: bool
    ) -> None:
        """
        Args:
            verify: how servers are verified.
            hosts: the hosts that may be read, as patterns.
            timeout: seconds that a page may take, with its redirects.
            max_bytes: largest page.
            robots: what robots.txt forbids is not read.
        """
        self._verify = verify
        self._hosts = hosts
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._robots = robots
        self._known: OrderedDict[str, _Robots] = OrderedDict()

    async def fetch(self, url: str, may_be_private: Callable[[str, int], bool]) -> Fetched:
        """A page. Raises PageUnreadable, with the cause.

        Args:
            url: its address.
            may_be_private: whether a host, by its name and port, may have an address that is not public.
        """
        transport = CheckedTransport(self._verify, self._hosts, {}, may_be_private)
        client = httpx2.AsyncClient(
            transport=transport,
            follow_redirects=False,
            timeout=self._timeout,
            trust_env=False,
            headers={"accept-encoding": "identity", "user-agent": AGENT, "accept": "text/html,text/*;q=0.9,*/*;q=0.5"},
        )
        try:
            async with asyncio.timeout(self._timeout), client:
                return await self._followed(client, url)
        except TimeoutError:
            hint = "Raise timeout in the component's config, or leave it out"
            raise page_unreadable(url, f"it was not there within {self._timeout:g} s", hint) from None
        except CallFailed as failed:
            raise page_refused(url, failed, "Use the address of a public page, with http:// or https://") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise page_unreadable(url, what, "Check the address, and that its host is there") from None

    async def _followed(self, client: httpx2.AsyncClient, url: str) -> Fetched:
        """Follows redirects, and asks the robots.txt of each host on the way."""
        target = httpx2.URL(url).copy_with(fragment=None)
        for _ in range(MAX_REDIRECTS + 1):
            if self._robots:
                await self._check_robots(client, url, target)
            async with client.stream("GET", target) as response:
                if response.status_code in _REDIRECTS and "location" in response.headers:
                    target = target.join(response.headers["location"]).copy_with(fragment=None)
                    continue
                return await self._read(url, response)
        raise page_unreadable(url, f"it redirects more than {MAX_REDIRECTS} times", "Use its final address")

    async def _read(self, url: str, response: httpx2.Response) -> Fetched:
        if response.status_code != 200:
            raise page_unreadable(url, f"the server answered with {response.status_code}", "Check the address")
        content = await _content(response, self._max_bytes)
        if content is None:
            hint = "Raise max_bytes in the component's config, or leave it out"
            raise page_unreadable(url, f"it has more than {self._max_bytes:,} bytes", hint)
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return Fetched(str(response.url), content, kind or "text/html", response.charset_encoding)

    async def _check_robots(self, client: httpx2.AsyncClient, url: str, target: httpx2.URL) -> None:
        """Raises PageUnreadable if the robots.txt of its host does not permit a page, or its server fails to send it."""
        origin = f"{target.scheme}://{target.netloc.decode()}"
        kept = self._known.get(origin)
        if kept is None or not kept.is_current:
            kept = await self._robots_of(client, origin)
            self._known.pop(origin, None)
            self._known[origin] = kept
            while len(self._known) > MAX_HOSTS or sum(one.size for one in self._known.values()) > MAX_KEPT_BYTES:
                self._known.popitem(last=False)
        if kept.failed:
            why = f"the server of {target.host} answered the request for its robots.txt with {kept.failed}"
            raise page_unreadable(url, why, f"Retry after {FAILED_SECONDS:g} s")
        rules = kept.rules
        if not (rules if isinstance(rules, bool) else await in_thread(rules.can_fetch, str(target), AGENT)):
            hint = "Leave the page out. The operator of its host does not want it to be read by programs"
            raise page_refused(url, f"the robots.txt of {target.host} forbids it", hint)

    async def _robots_of(self, client: httpx2.AsyncClient, origin: str) -> _Robots:
        """The rules of a host, as RFC 9309 has it: without a robots.txt all is permitted, and while the server fails nothing is."""
        target = httpx2.URL(f"{origin}/robots.txt")
        for _ in range(MAX_REDIRECTS + 1):
            async with client.stream("GET", target) as response:
                status = response.status_code
                if status in _REDIRECTS and "location" in response.headers:
                    target = target.join(response.headers["location"])
                    continue
                if status >= 500:
                    return _Robots(rules=False, failed=status)
                if status != 200:
                    return _Robots(rules=True)
                content = await _content(response, MAX_ROBOTS_BYTES, whole=False) or b""
                text = content.decode("utf-8", "replace")
                return _Robots(
                    await in_thread(Protego.parse, text), size=len(content)
                )  # takes seconds for a hostile one
        return _Robots(rules=True)


async def _content(response: httpx2.Response, limit: int, *, whole: bool = True) -> bytes | None:
    """The content up to a limit; None if there is more and the whole is wanted."""
    pieces = bytearray()
    async for piece in response.aiter_bytes():
        pieces += piece
        if len(pieces) > limit:
            return None if whole else bytes(pieces[:limit])
    return bytes(pieces)
