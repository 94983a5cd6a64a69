"""A gateway, a Chromium, and pages in it that may do nothing wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.gateway.options import GatewayOptions

from endings import lasting
from rigs.gateways import client_of, gateway_at
from rigs.runs import NODES, RIGS

if TYPE_CHECKING:
    from playwright.async_api import Browser, ConsoleMessage, Page, Request

collect_ignore_glob = [] if os.environ.get("LANEMESH_BROWSER") else ["test_*.py"]
"""They need Chromium and the packages of web/, which `make browser` installs."""

OPTIONS = GatewayOptions(rate=1_000_000.0, max_requests=5_000, max_requests_per_token=5_000)
ARGUMENTS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-fake-device-for-media-stream",
)
EXAMPLES = Path(__file__).parents[2] / "examples"
AGENTS = ("agent", "approval")
"""The examples that are deployed under their names."""


@dataclass
class Site:
    """A gateway and a client of it."""

    url: str
    client: httpx.AsyncClient
    mesh: Mesh

    async def start(self, pipeline: Any, **fields: Any) -> str:
        """Starts a run; returns its id."""
        answer = await self.client.post("/v1/runs", json={"pipeline": pipeline, **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["run_id"])

    async def finish(self, pipeline: Any, **fields: Any) -> str:
        """Starts a run and waits for its end; returns its id."""
        run = await self.start(pipeline, **fields)
        await self.client.get(f"/v1/runs/{run}/events", timeout=60)
        return run


@dataclass
class Watched:
    """What a page has done that it must not."""

    wrong: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()
    """Parts of messages of the console that the test provokes."""

    def watch(self, page: Page, url: str) -> None:
        """Notes errors of scripts, messages of the console and requests to other sites."""
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("console", self._console)
        page.on("request", lambda request: self._request(request, url))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(part in message.text for part in self.expected):
            self.wrong.append(f"console: {message.text}")

    def _request(self, request: Request, url: str) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != urlsplit(url).netloc:
            self.wrong.append(f"request to another site: {request.url}")


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def mesh() -> AsyncIterator[Mesh]:
    """A mesh in this process, with deployed examples."""
    nodes = [NODES, *(RIGS / f"{name}_nodes.py" for name in ("approval", "page", "talking", "chat"))]
    async with lasting("the mesh", Mesh(nodes=nodes, folder=EXAMPLES)) as mesh:
        for name in AGENTS:
            await mesh.deploy(name, EXAMPLES / f"{name}.pipe")
        yield mesh


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def site(mesh: Mesh) -> AsyncIterator[Site]:
    """The gateway of the mesh."""
    async with gateway_at(mesh, OPTIONS) as server, client_of(server.url) as client:
        yield Site(server.url, client, mesh)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """Debian's Chromium, without its services in the background."""
    path = shutil.which("chromium")
    assert path, "Chromium is not installed: `make browser` installs Debian's"
    from playwright.async_api import async_playwright  # the other tests read this file too

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        await browser.close()


@pytest.fixture
def watched() -> Watched:
    """What the page of the test does wrong."""
    return Watched()


@pytest_asyncio.fixture(loop_scope="session")
async def page(chromium: Browser, site: Site, watched: Watched) -> AsyncIterator[Page]:
    """A page of its own; after the test it must have done nothing wrong."""
    context = await chromium.new_context(base_url=site.url, viewport={"width": 1280, "height": 900})
    page = await context.new_page()
    page.set_default_timeout(15_000)
    watched.watch(page, site.url)
    yield page
    await context.close()
    assert not watched.wrong
