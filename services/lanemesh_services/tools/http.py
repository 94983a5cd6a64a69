"""Requests to HTTP servers as a tool."""

from __future__ import annotations

import asyncio
import codecs
import json
import ssl
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from lanemesh import Context, Image, ToolNode, ToolSpec, tool
from lanemesh.extend import CallFailed, in_thread, read_json
from pydantic import BaseModel, Field

from lanemesh_services.shared.certificates import certificates
from lanemesh_services.tools.errors import library_missing

if TYPE_CHECKING:
    import httpx2

MAX_URL = 8_192
"""Longest URL in characters."""
MAX_REDIRECTS = 5
"""Most redirects of one request."""
_CONTROLLED = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "te", "upgrade"}
)
"""Headers that the model cannot set."""
_SHOWN = ("content-type", "content-language", "date", "etag", "last-modified", "location", "retry-after", "link")
"""Headers of the response that the model gets."""

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


class ToolHttp(ToolNode):
    """Offers HTTP requests to a list of hosts as a tool.

    A request may go to the hosts of `hosts` only, and to public addresses only. Both are checked for each redirect as well, and the
    connection goes to the address that was checked. JSON and text are returned as such, images as images.
    """

    pip_extra = "tools"
    python_packages = ("httpx2",)
    aliases = ("tool_http_request",)
    profiles: ClassVar = {
        "tool_http_request": {"hosts": ["*"], "methods": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]}
    }

    class Config(BaseModel):
        """Settings of the requests."""

        hosts: list[str] = Field(
            min_length=1, description='Hosts that may be requested, such as "api.example.com", "*.example.com" or "*".'
        )
        methods: list[Method] = Field(default=["GET", "HEAD"], min_length=1, description="Methods that may be used.")
        headers: dict[str, dict[str, str]] = Field(
            default={},
            json_schema_extra={"format": "remote-url"},
            description="Headers of requests by host, over HTTPS at port 443 or to a permitted private host, such as "
            '{"api.example.com": {"authorization": "Bearer ${API_KEY}"}}. The model neither sees nor overrides them.',
        )
        private: bool = Field(
            False,
            description="Hosts may have private and loopback addresses. The node server has to permit that too: "
            "`lanemesh node --allow hosts` or `--allow host:NAME`.",
        )
        timeout: float = Field(30, gt=0, le=600, description="Time limit of a request with its redirects, in seconds.")
        max_bytes: int = Field(
            500_000, ge=1, le=4_000_000, description="Largest response in bytes; more of it is cut off."
        )

    @classmethod
    async def load(cls, config: Any) -> ssl.SSLContext:
        """Loads the certificates that servers are verified by. Raises LanemeshError if httpx2 is not installed."""

        def load() -> ssl.SSLContext:
            try:
                return certificates()
            except ImportError as error:
                raise library_missing("httpx2", cls.provider, error) from None

        return await in_thread(load)

    async def list_tools(self, context: Context) -> list[ToolSpec]:
        """The tool, with its hosts and methods in its description."""
        hosts, methods = ", ".join(self.config.hosts), ", ".join(self.config.methods)
        (spec,) = await super().list_tools(context)
        return [replace(spec, description=f"{spec.description}\n\nHosts: {hosts}. Methods: {methods}.")]

    @tool
    async def http_request(
        self,
        url: Annotated[str, Field(max_length=MAX_URL)],
        context: Context,
        method: Method = "GET",
        query: dict[str, str | int | float | bool] | None = None,
        headers: dict[str, str] | None = None,
        body: Any = None,
    ) -> list[Any] | dict[str, Any]:
        """Makes an HTTP request, and returns the status, some headers, and the content of the response.

        Args:
            url: The URL, with "http://" or "https://".
            method: The method.
            query: Parameters to add to the URL.
            headers: Headers to send.
            body: Content to send: a text as it is, any other value as JSON.
        """
        import httpx2

        if method not in self.config.methods:
            allowed = ", ".join(self.config.methods)
            raise CallFailed("method-not-allowed", f"the method {method} is not allowed; the allowed ones: {allowed}")
        sent = {name: value for name, value in (headers or {}).items() if name.lower() not in _CONTROLLED}
        content = None
        if body is not None:
            content = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
            if not isinstance(body, str):
                sent.setdefault("content-type", "application/json")
        try:
            async with asyncio.timeout(self.config.timeout), self._client(context) as client:
                target = httpx2.URL(url).copy_merge_params(query or {})
                request = client.build_request(method, target, headers=sent, content=content)
                response = await client.send(request, stream=True)
                try:
                    return await self._shown(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            message = f"{url:.200} did not answer within {self.config.timeout:g} s"
            raise CallFailed("tool-timeout", message) from None
        except httpx2.TooManyRedirects:
            raise CallFailed("http-error", f"{url:.200} redirects more than {MAX_REDIRECTS} times") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise CallFailed("http-error", f"the request to {url:.200} failed: {what:.500}") from None

    def _client(self, context: Context) -> httpx2.AsyncClient:
        import httpx2

        from lanemesh_services.shared.http_transport import CheckedTransport

        transport = CheckedTransport(
            self.resource,
            self.config.hosts,
            self.config.headers,
            lambda host, port: self.config.private and context.permissions.allows_host(host, port),
        )
        return httpx2.AsyncClient(
            transport=transport,
            follow_redirects=True,
            max_redirects=MAX_REDIRECTS,
            timeout=self.config.timeout,
            trust_env=False,
            headers={"accept-encoding": "identity", "user-agent": "lanemesh"},
        )

    async def _shown(self, response: httpx2.Response) -> list[Any] | dict[str, Any]:
        """A response as the model gets it."""
        content, cut = await _content(response, self.config.max_bytes)
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        shown: dict[str, Any] = {"status": response.status_code, "url": str(response.url)[:MAX_URL]}
        shown["headers"] = {name: response.headers[name][:1000] for name in _SHOWN if name in response.headers}
        if cut:
            shown["note"] = f"only the first {len(content):,} bytes of the content"
        if kind.startswith("image/") and not cut:
            return [shown, Image(kind, content)]
        return {**shown, **_text_or_json(content, kind, response.charset_encoding, whole=not cut)}


async def _content(response: httpx2.Response, limit: int) -> tuple[bytes, bool]:
    """The content up to a limit, and whether there is more."""
    pieces = bytearray()
    async for piece in response.aiter_bytes():
        pieces += piece
        if len(pieces) > limit:
            return bytes(pieces[:limit]), True
    return bytes(pieces), False


_CHARSETS = frozenset(
    {"utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252", "cp1251", "koi8-r", "utf-16", "utf-16-le", "utf-16-be"}
    | {"shift_jis", "euc_jp", "gb18030", "gbk", "gb2312", "big5", "euc_kr", "iso2022_jp"}
)
"""The encodings of texts. Some others of Python take quadratic time."""


def _known_charset(name: str | None) -> str | None:
    """The encoding with a name, if it is one of texts."""
    try:
        found = codecs.lookup(name or "").name
    except (LookupError, ValueError):
        return None
    return found if found in _CHARSETS else None


def _text_or_json(content: bytes, kind: str, charset: str | None, *, whole: bool) -> Mapping[str, Any]:
    """The content as "json", as "text", or in its size."""
    charset = _known_charset(charset)
    if whole and (kind == "application/json" or kind.endswith("+json")):
        try:
            return {"json": read_json(content.decode(charset or "utf-8"))}
        except (ValueError, LookupError):
            pass
    if b"\0" in content[:1000] and not (charset or "").lower().startswith("utf-16"):
        return {"bytes": len(content)}
    try:
        return {"text": content.decode(charset or "utf-8", "replace")}
    except LookupError:
        return {"text": content.decode("utf-8", "replace")}
