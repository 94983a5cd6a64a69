"""The lists of the page, its frame, its size, and that everybody can use it."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from lanemesh.gpu import GpuClient, arbiter
from lanemesh.v1 import gpu_pb2
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.gateway.options import GatewayOptions
from playwright.async_api import Browser, Page, expect

from browser.conftest import EXAMPLES, Site, Watched
from rigs.gateways import gateway_at
from rigs.gpu import entered
from rigs.runs import line, node

pytestmark = pytest.mark.asyncio(loop_scope="session")

TAG = line(node("tag_1", "tag", "chat", mark="+"))
FAILING = line(node("fails_1", "fail_running", "chat"))
AXE = Path(__file__).parents[2] / "web/node_modules/axe-core/axe.min.js"
VIEWS = ("runs", "deployments", "types", "types/agent_wave", "servers", "chat", "editor")
MOST_BYTES = 100_000
WIDE: Any = {"width": 1280, "height": 900}
SERIOUS = ("serious", "critical")


async def test_runs_are_listed_live_and_filtered(page: Page, site: Site) -> None:
    await page.goto("/#/runs")
    done = await site.finish({**TAG, "name": "tagging"}, input="x")
    await expect(page.get_by_role("row", name=re.compile(done))).to_contain_text("completed")
    failed = await site.finish({**FAILING, "name": "failing"}, input="x")
    await expect(page.get_by_role("row", name=re.compile(failed))).to_contain_text("a bad word")

    await page.get_by_label("State").select_option("failed")
    await expect(page.get_by_role("row", name=re.compile(done))).to_have_count(0)
    await expect(page.get_by_role("row", name=re.compile(failed))).to_be_visible()
    await page.get_by_label("State").select_option("")
    await page.get_by_label("Search").fill("tagging")
    await expect(page.get_by_role("row", name=re.compile(failed))).to_have_count(0)
    await page.get_by_role("link", name="tagging").first.click()

    await expect(page.get_by_role("heading", name="tagging")).to_be_visible()


async def test_a_dropped_pipeline_is_deployed_once_its_faults_are_mended(page: Page, site: Site) -> None:
    text = (EXAMPLES / "agent.pipe").read_text()
    broken = text.replace('"agent_wave"', '"agent_wafe"')
    await page.goto("/#/deployments")
    await page.evaluate(
        """text => {
            const files = new DataTransfer();
            files.items.add(new File([text], "My Agent.pipe"));
            document.querySelector(".file-drop").dispatchEvent(new DragEvent("drop", {dataTransfer: files, bubbles: true}));
        }""",
        broken,
    )

    form = page.get_by_role("form", name="Deploy a pipeline")
    number = broken[: broken.index("agent_wafe")].count("\n") + 1
    fault = form.get_by_role("button", name=re.compile("There is no node type"))
    await expect(fault).to_contain_text(f"line {number}")
    await expect(form.locator("mark")).to_have_text('"agent_wafe"')
    await expect(form.get_by_role("button", name="Deploy")).to_be_disabled()
    await fault.click()
    selected = (
        "[...document.querySelectorAll('textarea')].map(one => one.value.slice(one.selectionStart, one.selectionEnd))"
    )
    assert await page.evaluate(selected) == ['"agent_wafe"']
    await form.get_by_label("Text of the pipeline").fill(text)
    await form.get_by_role("button", name="Deploy").click()

    card = page.get_by_role("article", name="my-agent")
    await expect(card).to_contain_text("version 1")
    await card.get_by_role("button", name="Remove").click()
    await page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    await expect(card).to_have_count(0)


async def test_a_node_type_shows_ports_settings_and_helpers(page: Page) -> None:
    await page.goto("/#/types")
    await page.get_by_label("Search the node types").fill("wave")
    await page.get_by_role("link", name=re.compile("agent_wave")).click()

    about = page.locator(".type-page")
    for text in ("What is asked.", "max_waves", "llm, at least 1, at most 1", "Also called agent_rocketride"):
        await expect(about).to_contain_text(text)


async def test_keys_move_between_views_and_list_themselves(page: Page) -> None:
    await page.goto("/#/runs")
    await expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()

    await page.keyboard.press("g")
    await page.keyboard.press("s")
    await expect(page.get_by_role("heading", name="Servers")).to_be_visible()
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_contain_text("Go to Deployments")


async def test_the_theme_is_kept(page: Page) -> None:
    await page.goto("/#/servers")
    await expect(page.locator("html")).to_have_attribute("data-theme", "light")
    await page.get_by_role("button", name="Dark theme").click()
    await page.reload()

    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")


async def test_a_gateway_with_a_token_asks_for_it(page: Page, mesh: Mesh, watched: Watched) -> None:
    watched.expected = ("401",)
    async with gateway_at(mesh, GatewayOptions(token="open-sesame")) as server:
        await page.goto(server.url)
        dialog = page.get_by_role("dialog", name="This gateway wants a token")
        await dialog.get_by_label("Token").fill("open-sesame")
        await dialog.get_by_role("button", name="Use it").click()

        await expect(page.locator("table.runs, .empty")).to_be_visible()
        await expect(dialog).not_to_be_visible()
        watched.wrong = [one for one in watched.wrong if server.url not in one]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(chromium: Browser, site: Site, scheme: Any) -> None:
    approval = await site.start(line(node("careful_1", "careful", "chat")), input="everything")
    agent = await site.finish("@agent", input="What do I pack?", trace="full")
    failed = await site.finish({**FAILING, "name": "failing"}, input="x")
    runs = [
        f"runs/{agent}",
        f"runs/{agent}?tab=agents",
        f"runs/{agent}?tab=timeline",
        f"runs/{approval}",
        f"runs/{failed}",
    ]
    context = await chromium.new_context(
        base_url=site.url, color_scheme=scheme, viewport={"width": 1280, "height": 900}, bypass_csp=True
    )
    page = await context.new_page()
    found = {}
    for view in (*VIEWS, *runs):
        await page.goto(f"/#/{view}")
        await page.reload()
        await expect(page.locator("main h1, main h2").first).to_be_visible()
        if view.startswith("runs/"):
            await page.locator(".graph .node").nth(1).press("Enter")
            await expect(page.locator(".details")).to_be_visible()
        await page.add_script_tag(path=AXE)
        result = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [one for one in result["violations"] if one["impact"] in SERIOUS]
        if serious:
            found[view] = [(one["id"], [place["html"][:200] for place in one["nodes"][:3]]) for one in serious]
    await context.close()
    await site.client.post(f"/v1/runs/{approval}/cancel", json={})
    assert not found, json.dumps(found, indent=1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_is_wider_than_a_narrow_page(chromium: Browser, site: Site, scheme: Any) -> None:
    run = await site.finish("@agent", input="What do I pack?")
    context = await chromium.new_context(base_url=site.url, color_scheme=scheme, viewport={"width": 360, "height": 780})
    page = await context.new_page()
    for view in (*VIEWS, f"runs/{run}", f"runs/{run}?tab=agents", f"runs/{run}?tab=timeline"):
        await page.goto(f"/#/{view}")
        await page.reload()
        await expect(page.locator("main h1, main h2").first).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360, view
    await context.close()


async def test_the_page_has_a_budget_of_bytes(site: Site) -> None:
    total = 0
    async with httpx.AsyncClient(base_url=site.url) as client:
        index = await client.get("/")
        for name in re.findall(r"/assets/[\w.]+\.(?:js|css)", index.text):
            answer = await client.get(name, headers={"accept-encoding": "gzip"})
            assert answer.headers["content-encoding"] == "gzip"
            total += len(gzip.compress(answer.content, 9))
            again = await client.get(name, headers={"if-none-match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        missing = await client.get("/assets/nothing.js")

    assert 0 < total <= MOST_BYTES
    assert (missing.status_code, missing.json()["title"]) == (404, "no-such-path")
    assert "default-src 'self'" in index.headers["content-security-policy"]


async def test_gpus_are_shown_with_their_leases_and_the_queue(
    page: Page, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LANEMESH_GPUS", "sim:0=24GiB")
    monkeypatch.setenv("LANEMESH_GPU_STATE", str(tmp_path))
    monkeypatch.setattr(arbiter, "_embedded", None)
    link = site.mesh.orchestrator.host.gpu_link
    draw, train = (GpuClient(link, gpu_pb2.LeaseHolder(component=name)) for name in ("draw", "train"))
    async with draw.lease(memory="6GiB", peak="9GiB", purpose="draws a cat"):
        waiting = asyncio.create_task(entered(train.lease()))
        await page.goto("/#/servers")
        device = page.get_by_role("article", name="sim:0")
        await expect(device).to_contain_text("9.0 GiB of 24 GiB")
        await expect(device).to_contain_text("draws a cat")
        await expect(page.get_by_role("article", name="Queue")).to_contain_text("it needs the device alone")
    await waiting
    await expect(page.get_by_role("article", name="Queue")).to_have_count(0)
