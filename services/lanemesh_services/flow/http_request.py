"""A node that makes an HTTP request for each item."""

from __future__ import annotations

import asyncio
import codecs
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

from lanemesh import Code, Context, Document, In, Json, Media, Node, Out, Pieces, Whole
from lanemesh.extend import CallFailed, in_thread, read_json
from pydantic import BaseModel, Field

from lanemesh_services.flow.errors import FlowError, flow_error
from lanemesh_services.flow.values import as_json, described, text_of
from lanemesh_services.shared.certificates import certificates
from lanemesh_services.shared.errors import import_failed

if TYPE_CHECKING:
    import httpx2

MAX_URL = 8_192
"""Longest URL in characters."""
MAX_REDIRECTS = 5
"""Most redirects of one request."""
_TEXTS = ("text/", "application/json", "application/xml", "application/javascript")


class HttpRequest(Node):
    """Makes an HTTP request for each item, and sends the content of the response: its text as it arrives, its JSON, or a document.

    A request may go to the hosts of `hosts` only, and to public addresses only. Both are checked for each redirect as well.
    """

    pip_extra = "flow"
    python_packages = ("httpx2",)

    class Config(BaseModel):
        """Settings of the requests."""

        hosts: list[str] = Field(
            min_length=1, description='Hosts that may be requested, such as "api.example.com", "*.example.com" or "*".'
        )
        url: str = Field(
            "",
            max_length=MAX_URL,
            description='URL of the requests. "{text}" is replaced by the text of the item, percent-encoded. Default: the text of '
            "the item is the URL.",
        )
        method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = Field("GET", description="The method.")
        body: Literal["none", "text", "json"] = Field(
            "none", description="What is sent: nothing, the text of the item, or the item as JSON."
        )
        headers: dict[str, dict[str, str]] = Field(
            default={},
            json_schema_extra={"format": "remote-url"},
            description="Headers of requests by host, over HTTPS at port 443 or to a permitted private host, such as "
            '{"api.example.com": {"authorization": "Bearer ${API_KEY}"}}.',
        )
        private: bool = Field(
            False,
            description="Hosts may have private and loopback addresses. The node server has to permit that too: "
            "`lanemesh node --allow hosts` or `--allow host:NAME`.",
        )
        timeout: float = Field(30, gt=0, le=600, description="Time limit of a request with its redirects, in seconds.")
        max_bytes: int = Field(
            4_000_000, ge=1, le=64_000_000, description="Largest response in bytes; a larger one is an error."
        )

    item: Annotated[In[Whole[Any]], "What is requested, or the content of the request."]
    text: Annotated[Out[Pieces[str]], "The text of the response, as it arrives."]
    data: Annotated[Out[Json], "Status, URL, type, and JSON or text."]
    documents: Annotated[Out[Document], "The text of the response, or its file, with the URL as source."]

    @classmethod
    async def load(cls, config: Any) -> ssl.SSLContext:
        """Loads the certificates that servers are verified by. Raises LanemeshError if httpx2 is not installed."""

        def load() -> ssl.SSLContext:
            try:
                return certificates()
            except ImportError as error:
                raise import_failed("httpx2", cls.provider, "flow", error) from None

        return await in_thread(load)

    async def gen_process(self, context: Context) -> AsyncGenerator[tuple[str, Any], None]:
        """The content of the response.

        Raises:
            LanemeshError: the request failed, its host is not allowed, its status is not one of success, or the response is too
                large. The message names the item.
        """
        import httpx2

        url, limit = self._url(), TimeLimit(self.config.timeout)
        try:
            async with self._client(context) as client:
                async with context.waiting_for(f"a response of {url:.100}"), limit:
                    response = await client.send(await in_thread(self._request, client, url), stream=True)
                try:
                    async for pair in self._content(context, response, limit):
                        yield pair
                finally:
                    await response.aclose()
        except FlowError:
            raise
        except CallFailed as error:
            raise self._failed(error.reason, str(error)) from None
        except TimeoutError:
            raise self._failed("http-error", f"it took longer than {self.config.timeout:g} s") from None
        except httpx2.TooManyRedirects:
            raise self._failed("http-error", f"it is redirected more than {MAX_REDIRECTS} times") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise self._failed("http-error", f"{type(error).__name__}: {error}"[:500]) from None

    def _url(self) -> str:
        text = text_of(self.item)
        filled = self.config.url.replace("{text}", quote(text[: MAX_URL + 1], safe=""))
        url = str(filled or text.strip())
        if len(url) > MAX_URL:
            raise self._failed("too-large", f"its URL has more than {MAX_URL:,} characters; send the text as body")
        return url

    def _request(self, client: httpx2.AsyncClient, url: str) -> httpx2.Request:
        if self.config.body == "none":
            return client.build_request(self.config.method, url)
        if self.config.body == "text":
            headers = {"content-type": "text/plain; charset=utf-8"}
            return client.build_request(self.config.method, url, content=text_of(self.item).encode(), headers=headers)
        content = json.dumps(as_json(self.item, whole=True), ensure_ascii=False).encode()
        return client.build_request(
            self.config.method, url, content=content, headers={"content-type": "application/json"}
        )

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

    async def _content(
        self, context: Context, response: httpx2.Response, limit: TimeLimit
    ) -> AsyncGenerator[tuple[str, Any], None]:
        """Text piece by piece, and at the end what needs the whole content."""
        if not response.is_success:
            raise self._failed("http-error", f"the server answers with status {response.status_code}")
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        charset = _charset(response.charset_encoding)
        decoder = codecs.getincrementaldecoder(charset)("replace")
        is_text = kind.startswith(_TEXTS) or kind.endswith(("+json", "+xml")) or not kind
        wanted = context.connected_outputs
        content = bytearray()
        size = 0
        pieces = response.aiter_bytes()
        while (piece := await _read(pieces, limit)) is not None:
            size += len(piece)
            if size > self.config.max_bytes:
                why = f"the response has more than {self.config.max_bytes:,} bytes; raise config.max_bytes"
                raise self._failed("too-large", why)
            if "text" in wanted and is_text and (text := decoder.decode(piece)):
                yield "text", text
            if wanted - {"text"}:
                content += piece
        if "text" in wanted and is_text and (text := decoder.decode(b"", final=True)):
            yield "text", text
        if wanted == {"text"} and not is_text:
            why = f"the response is {kind}, which is no text; connect `documents`"
            raise self._failed("not-text", why)
        url = str(response.url)[:MAX_URL]
        whole = bytes(content)
        if "data" in wanted:
            yield (
                "data",
                {"status": response.status_code, "url": url, "content_type": kind, **_data(whole, kind, charset)},
            )
        if "documents" in wanted and is_text:
            yield "documents", Document(whole.decode(charset, "replace"), source=url)
        elif "documents" in wanted:
            yield "documents", Document("", source=url, file=Media(kind, whole))

    def _failed(self, reason: str, why: str) -> FlowError:
        message = f"the request for {described(self.item)} failed: {why}"
        return flow_error(reason, message, Code.UNAVAILABLE if reason == "http-error" else Code.INVALID_ARGUMENT)


class TimeLimit:
    """A time limit for the waits within its blocks together. What happens between the blocks, such as sending, does not count."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._scope: asyncio.Timeout | None = None
        self._begun = 0.0

    async def __aenter__(self) -> None:
        self._begun = asyncio.get_running_loop().time()
        self._scope = asyncio.timeout(max(self._left, 0.0))
        await self._scope.__aenter__()

    async def __aexit__(self, *raised: Any) -> None:
        self._left -= asyncio.get_running_loop().time() - self._begun
        assert self._scope is not None
        await self._scope.__aexit__(*raised)


async def _read(pieces: AsyncIterator[bytes], limit: TimeLimit) -> bytes | None:
    """The next piece of a response; None at the end."""
    async with limit:
        return await anext(pieces, None)


def _charset(name: str | None) -> str:
    """The encoding with a name, if it is a common one of texts; others take quadratic time in Python."""
    try:
        found = codecs.lookup(name or "utf-8").name
    except (LookupError, ValueError):
        return "utf-8"
    common = ("utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "shift_jis")
    return found if found in common else "utf-8"


def _data(content: bytes, kind: str, charset: str) -> dict[str, Any]:
    """The content as "json" or as "text"; neither if it is not text."""
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return {"json": read_json(content.decode(charset))}
        except (ValueError, LookupError):
            pass
    return {"bytes": len(content)} if b"\0" in content[:1000] else {"text": content.decode(charset, "replace")}
