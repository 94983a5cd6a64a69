"""Reading pages, from a server on this machine."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from lanemesh import Document, LanemeshError, Question
from lanemesh.testing import run_node
from lanemesh_services.search import page_reader
from lanemesh_services.search.errors import PageUnreadable
from lanemesh_services.search.page_text import text_of
from lanemesh_services.search.web_read import WebRead, addresses_in
from protego import Protego

PAGE = """<!doctype html><html lang="en"><head><title>Ferries &amp; harbours</title><style>p {color: red}</style></head><body>
<nav><a href="/">Home</a></nav><main><h1>Ferries</h1><p>The ferry leaves at <b>nine</b>.</p>
<table><tr><th>Day</th><th>Time</th></tr><tr><td>Monday</td><td>9:00</td></tr></table>
<script>alert("no")</script></main><footer>Imprint</footer></body></html>"""


class Site:
    """A site on this machine."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.requests: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append(self.path)
                status, headers, content = outer.pages.get(self.path, (404, {}, b""))
                self.send_response(status)
                for name, value in {"content-length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever)
        self._thread.start()

    def url(self, path: str) -> str:
        """The address of a page."""
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def at(self, path: str, content: str | bytes, kind: str = "text/html", status: int = 200, **headers: str) -> None:
        """Serves a page."""
        data = content.encode() if isinstance(content, str) else content
        self.pages[path] = (status, {"content-type": kind, **headers}, data)

    def close(self) -> None:
        """Stops it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    """The site."""
    made = Site()
    yield made
    made.close()


def read(port: str, value: Any, **config: Any) -> Any:
    """The result of reading one item."""
    return run_node(WebRead, config={"private": True, **config}, arrivals=[(port, value)], timeout=60)


def fault_of(site: Site, path: str, **config: Any) -> tuple[str, str]:
    """Reason and message of the fault of a page."""
    with pytest.raises(LanemeshError) as raised:
        read("text", site.url(path), **config)
    return raised.value.fault.reason, str(raised.value)


def test_happy_a_page_becomes_a_document_with_its_readable_text(site: Site) -> None:
    site.at("/ferry", PAGE)

    result = read("questions", Question(f"When does it leave ({site.url('/ferry')})?"))

    (page,) = result.pages
    assert (page.source, page.metadata["title"], page.metadata["language"]) == (
        site.url("/ferry"),
        "Ferries & harbours",
        "en",
    )
    assert "# Ferries" in page.content
    assert "The ferry leaves at **nine**." in page.content
    assert "| Monday | 9:00 |" in page.content
    assert not any(word in page.content for word in ("Home", "alert", "Imprint", "color"))
    assert result.asked[0].documents == (page,)
    assert site.requests == ["/robots.txt", "/ferry"]


def test_happy_every_kind_of_item_may_name_pages(site: Site) -> None:
    for name in "abc":
        site.at(f"/{name}", f"<p>page {name}</p>")

    assert [page.content for page in read("text", f"{site.url('/a')}, and {site.url('/b')}.").pages] == [
        "page a",
        "page b",
    ]
    assert [page.content for page in read("data", {"url": site.url("/c")}).pages] == ["page c"]
    assert [page.content for page in read("data", [site.url("/a"), site.url("/a")]).pages] == ["page a"]
    assert [page.content for page in read("documents", Document("a hit", source=site.url("/b"))).pages] == ["page b"]


def test_happy_a_file_leaves_as_it_is_and_texts_are_decoded(site: Site) -> None:
    site.at("/x.pdf", b"%PDF-1.7", "application/pdf")
    site.at("/latin", "naïve".encode("latin-1"), "text/plain; charset=iso-8859-1")
    site.at("/wide", "naïve".encode("utf-16"), "text/plain")

    (file,) = read("text", site.url("/x.pdf")).pages
    assert (file.content, file.file.mime_type, file.file.content) == ("", "application/pdf", b"%PDF-1.7")
    assert read("text", site.url("/latin")).pages[0].content == "naïve"
    assert read("text", site.url("/wide")).pages[0].content == "naïve"


def test_error_robots_txt_is_respected_also_behind_a_redirect(site: Site) -> None:
    site.at("/robots.txt", "User-agent: *\nDisallow: /secret\nAllow: /\n", "text/plain")
    site.at("/secret", "<p>no</p>")
    site.at("/moved", "", status=302, location="/secret")

    for path in ("/secret", "/moved"):
        reason, message = fault_of(site, path)
        assert reason == "page-not-allowed"
        assert "the robots.txt of 127.0.0.1 forbids it" in message
    assert "/secret" not in site.requests
    assert read("text", site.url("/secret"), robots=False).pages[0].content == "no"


def test_error_nothing_is_read_while_robots_txt_fails(site: Site) -> None:
    site.at("/page", "<p>text</p>")
    site.at("/robots.txt", "", status=503)
    reason, message = fault_of(site, "/page")
    assert reason == "page-unreadable"
    assert "answered the request for its robots.txt with 503. Retry after 30 s" in message
    for status in (403, 204):
        site.at("/robots.txt", "", status=status)
        assert read("text", site.url("/page")).pages[0].content == "text"


async def test_error_a_robots_txt_that_failed_is_asked_for_again_soon(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.at("/page", "<p>a page</p>")
    site.at("/robots.txt", "", status=503)
    reader = page_reader.PageReader(ssl.create_default_context(), hosts=["*"], timeout=30, max_bytes=1_000, robots=True)
    for _ in range(2):
        with pytest.raises(PageUnreadable, match="with 503"):
            await reader.fetch(site.url("/page"), lambda host, port: True)
    site.at("/robots.txt", "", status=404)
    monkeypatch.setattr(page_reader, "FAILED_SECONDS", -1.0)

    assert (await reader.fetch(site.url("/page"), lambda host, port: True)).content == b"<p>a page</p>"
    assert site.requests == ["/robots.txt", "/robots.txt", "/page"]


def test_error_private_addresses_are_refused_also_behind_a_redirect(site: Site) -> None:
    site.at("/page", "<p>text</p>")
    reason, message = fault_of(site, "/page", private=False)
    assert (reason, site.requests) == ("page-not-allowed", [])
    assert "which is not a public one" in message

    site.at("/away", "", status=302, location="http://169.254.169.254/latest/meta-data")
    assert "the host 169.254.169.254 is not allowed" in fault_of(site, "/away", hosts=["127.0.0.1"])[1]
    assert fault_of(site, "/page", hosts=["example.com"])[0] == "page-not-allowed"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/missing", "the server answered with 404"),
        ("/large", "it has more than 1,000 bytes"),
        ("/loop", "redirects more than 5 times"),
        ("/empty", "it has no text"),
        ("/zipped", "the response is compressed"),
        ("/scheme", 'does not begin with "http://"'),
    ],
)
def test_error_a_page_that_cannot_be_read_is_named(site: Site, path: str, said: str) -> None:
    site.at("/large", "<p>" + "x" * 2_000)
    site.at("/loop", "", status=301, location="/loop")
    site.at("/empty", "<body><script>draw()</script></body>")
    site.pages["/zipped"] = (200, {"content-encoding": "gzip"}, b"x")
    site.at("/scheme", "", status=302, location="ftp://example.com/")

    _, message = fault_of(site, path, max_bytes=1_000)

    assert said in message
    assert site.url(path) in message


def test_a_robots_txt_is_parsed_and_asked_outside_the_event_loop(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.at("/robots.txt", "User-agent: *\nDisallow: /secret\n", "text/plain")
    site.at("/page", "<p>a page</p>")
    in_loop: list[bool] = []

    def recorded(function: Any) -> Any:
        def called(*given: Any) -> Any:
            in_loop.append(asyncio._get_running_loop() is not None)
            return function(*given)

        return called

    monkeypatch.setattr(Protego, "parse", recorded(Protego.parse))
    monkeypatch.setattr(Protego, "can_fetch", recorded(Protego.can_fetch))

    assert read("text", site.url("/page")).pages[0].content == "a page"
    assert in_loop == [False, False]


async def test_the_rules_of_hosts_are_kept_within_a_size_of_all_of_them(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_reader, "MAX_KEPT_BYTES", 1_000)
    site.at("/robots.txt", "User-agent: *\nDisallow: /secret\n" + "# long\n" * 100, "text/plain")
    site.at("/page", "<p>a page</p>")
    reader = page_reader.PageReader(ssl.create_default_context(), hosts=["*"], timeout=30, max_bytes=1_000, robots=True)
    urls = [site.url("/page"), site.url("/page").replace("127.0.0.1", "localhost")]

    for url in [*urls, urls[1], urls[0]]:
        await reader.fetch(url, lambda host, port: True)

    assert site.requests.count("/robots.txt") == 3


def test_error_of_several_pages_those_that_can_be_read_are(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.at("/a", "<p>page a</p>")
    result = read("text", f"{site.url('/missing')} {site.url('/a')}")
    assert [page.content for page in result.pages] == ["page a"]
    assert "the server answered with 404" in caplog.text

    with pytest.raises(LanemeshError, match="allows 1 pages of an item, and this one has 2"):
        read("text", f"{site.url('/b')} {site.url('/a')}", pages=1)


def test_error_an_item_without_an_address_and_a_server_that_is_away() -> None:
    with pytest.raises(LanemeshError, match="has no address of a page"):
        read("text", "nothing here")
    with pytest.raises(LanemeshError, match="cannot be read") as raised:
        read("text", "http://127.0.0.1:9/")
    assert raised.value.fault.reason == "page-unreadable"


@pytest.mark.filterwarnings("ignore:HTML")
def test_error_broken_and_deep_pages_have_their_text() -> None:
    assert text_of("u", b"<div>" * 20_000 + b"text", "text/html", None).text == "text"
    assert text_of("u", b"<p>open <b>bold", "text/html", "no-such-charset").text == "open **bold**"


def test_addresses_in_texts_end_before_punctuation() -> None:
    text = "See (https://a.example/x?y=1), http://b.example. And HTTPS://C.example/d/; not ftp://e.example"
    assert addresses_in(text) == ["https://a.example/x?y=1", "http://b.example", "HTTPS://C.example/d/"]


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("https://a.example/Mercury_(planet)", ["https://a.example/Mercury_(planet)"]),
        ("(https://a.example/Mercury_(planet)).", ["https://a.example/Mercury_(planet)"]),
        ("[a](https://a.example/x)), [https://b.example/y]", ["https://a.example/x", "https://b.example/y"]),
        (
            "https://a.example/页面。然后总结、https://b.example/x，谢谢",
            ["https://a.example/页面", "https://b.example/x"],
        ),
        ("「https://a.example/ページ」と（https://b.example）", ["https://a.example/ページ", "https://b.example"]),
    ],
)
def test_brackets_of_an_address_stay_and_wide_punctuation_ends_it(text: str, addresses: list[str]) -> None:
    assert addresses_in(text) == addresses


def test_an_address_that_is_an_item_by_itself_may_have_wide_punctuation(site: Site) -> None:
    site.at("/%E5%A8%98%E3%80%82", "<p>a page</p>")
    assert [page.content for page in read("data", site.url("/娘。")).pages] == ["a page"]
