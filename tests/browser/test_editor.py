"""The editor of the page: pipelines are drawn, corrected, run and kept as they were opened."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from browser.conftest import EXAMPLES, Site
from browser.test_views import AXE, SERIOUS

pytestmark = pytest.mark.asyncio(loop_scope="session")

AGENT = (EXAMPLES / "agent.pipe").read_text()
DROP = """([text, name]) => {
    const files = new DataTransfer();
    files.items.add(new File([text], name));
    document.querySelector(".editor").dispatchEvent(new DragEvent("drop", {dataTransfer: files, bubbles: true}));
}"""


def node_of(page: Page, name: str) -> Locator:
    """The node in the drawing."""
    return page.locator(f'[data-node="{name}"]')


def port_of(page: Page, component: str, kind: str, name: str = "") -> Locator:
    """The port of a node in the drawing."""
    return page.locator(f'[data-node="{component}"] .port.{kind}').filter(has_text=name).locator(".port-mark")


def item_of(page: Page, provider: str) -> Locator:
    """The node type in the catalogue."""
    return page.get_by_role("button", name=re.compile(f"^Add {provider} "))


async def open_editor(page: Page) -> None:
    """An empty editor with its catalogue."""
    await page.goto("/#/editor")
    await expect(item_of(page, "chat")).to_be_visible()


async def add(page: Page, provider: str) -> None:
    """Adds a node by a click in the catalogue."""
    await page.get_by_label("Search the node types to add").fill(provider)
    await item_of(page, provider).click()
    await expect(node_of(page, f"{provider}_1")).to_be_visible()


async def middle_of(place: Locator) -> tuple[float, float]:
    """The middle of what is drawn, in pixels of the window."""
    box = await place.bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


async def drag(page: Page, begin: Locator, end: Locator | tuple[float, float]) -> None:
    """Moves the pointer with its button held."""
    await page.mouse.move(*await middle_of(begin))
    await page.mouse.down()
    x, y = end if isinstance(end, tuple) else await middle_of(end)
    await page.mouse.move(x - 12, y - 6, steps=4)
    await page.mouse.move(x, y, steps=2)
    await page.mouse.up()


async def text_of(page: Page) -> str:
    """The text of the document."""
    await page.get_by_role("tab", name="Text").click()
    return await page.get_by_label("Text of the pipeline").input_value()


async def run_with(page: Page, text: str) -> None:
    """Runs the document in the editor."""
    await page.get_by_role("tab", name="Run").click()
    await page.get_by_role("textbox", name="Input").fill(text)
    await page.get_by_role("button", name="Start the run").click()


async def test_three_nodes_are_drawn_and_run_by_pointer(page: Page) -> None:
    await open_editor(page)
    await add(page, "chat")
    await page.get_by_label("Search the node types to add").fill("tag")
    await item_of(page, "tag").drag_to(page.locator(".canvas"), target_position={"x": 300, "y": 260})
    await expect(node_of(page, "tag_1")).to_be_visible()
    await add(page, "response")
    await page.get_by_role("button", name="Show the whole graph").click()

    await drag(page, port_of(page, "chat_1", "output", "text"), port_of(page, "tag_1", "input", "text"))
    await drag(page, port_of(page, "tag_1", "output"), node_of(page, "response_1"))
    await expect(page.locator(".edge")).to_have_count(2)
    await node_of(page, "tag_1").click()
    await page.get_by_label("mark").fill("+")
    await expect(page.get_by_role("region", name="Faults")).to_contain_text("No faults")
    await run_with(page, "hello")

    await expect(page.get_by_role("article", name="Output of response_1")).to_contain_text("+hello")
    await expect(page.get_by_role("button", name=re.compile("^tag_1 tag .*completed"))).to_be_visible()
    document = json.loads(await text_of(page))
    assert [one["id"] for one in document["components"]] == ["chat_1", "tag_1", "response_1"]
    assert document["components"][1] == {
        "id": "tag_1",
        "provider": "tag",
        "input": [{"lane": "text", "from": "chat_1"}],
        "config": {"mark": "+"},
    }


async def test_three_nodes_are_drawn_and_run_by_keyboard(page: Page) -> None:
    await open_editor(page)
    await page.keyboard.press("/")
    for provider in ("chat", "tag", "response"):
        search = page.get_by_label("Search the node types to add")
        await search.focus()
        await search.press("Control+a")
        await page.keyboard.type(provider)
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(node_of(page, f"{provider}_1")).to_be_visible()
    bar = page.locator(".connect-bar")

    await node_of(page, "chat_1").focus()
    await page.keyboard.press("c")
    await expect(bar.get_by_role("button", name="questions")).to_be_focused()
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("Enter")
    await expect(bar.get_by_role("button", name="tag_1 · text")).to_be_focused()
    await page.keyboard.press("Enter")
    await node_of(page, "tag_1").focus()
    await page.keyboard.press("c")
    await expect(bar.get_by_role("button", name="response_1 · items")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator(".edge")).to_have_count(2)
    before = await node_of(page, "tag_1").bounding_box()
    await node_of(page, "tag_1").focus()
    await page.keyboard.press("Shift+ArrowDown")
    after = await node_of(page, "tag_1").bounding_box()
    assert before
    assert after
    assert after["y"] > before["y"]

    await page.keyboard.press("r")
    await page.get_by_role("textbox", name="Input").focus()
    await page.keyboard.type("hello")
    await page.keyboard.press("Control+Enter")
    await expect(page.get_by_role("article", name="Output of response_1")).to_contain_text("hello")


async def test_an_edge_that_does_not_fit_is_not_offered(page: Page) -> None:
    await open_editor(page)
    for provider in ("chat", "llm_scripted", "tag"):
        await add(page, provider)
    await page.get_by_role("button", name="Show the whole graph").click()

    await port_of(page, "chat_1", "output", "questions").click()
    bar = page.locator(".connect-bar")
    await expect(bar.get_by_role("button")).to_have_text(["llm_scripted_1 · questions", "Cancel"])
    await expect(node_of(page, "tag_1")).to_have_class(re.compile("dimmed"))
    await node_of(page, "tag_1").click()
    await expect(page.locator(".edge")).to_have_count(0)
    await page.keyboard.press("Escape")
    await expect(bar).to_have_count(0)
    await drag(page, port_of(page, "chat_1", "output", "questions"), port_of(page, "tag_1", "input"))
    await expect(page.locator(".edge")).to_have_count(0)
    await drag(page, port_of(page, "chat_1", "output", "questions"), port_of(page, "llm_scripted_1", "input"))

    await expect(page.locator(".edge")).to_have_count(1)


async def test_a_helper_is_connected_where_its_kind_is_called(page: Page) -> None:
    await open_editor(page)
    for provider in ("agent_wave", "tool_http", "llm_scripted"):
        await add(page, provider)
    await page.get_by_role("button", name="Show the whole graph").click()
    await node_of(page, "agent_wave_1").click()

    await page.get_by_role("button", name="Add a helper: llm").click()
    bar = page.locator(".connect-bar")
    await expect(bar.get_by_role("button")).to_have_text(["llm_scripted_1 · helper", "Cancel"])
    await page.keyboard.press("Enter")
    await expect(page.locator(".edge.control")).to_have_count(1)
    await node_of(page, "agent_wave_1").click()
    await expect(page.get_by_role("button", name="Add a helper: llm")).to_have_count(0)

    document = json.loads(await text_of(page))
    assert document["components"][2]["control"] == [{"classType": "llm", "from": "agent_wave_1"}]


async def test_a_fault_stands_at_its_field_until_it_is_mended(page: Page) -> None:
    await open_editor(page)
    await page.evaluate(DROP, [AGENT, "agent.pipe"])
    await node_of(page, "agent_1").click()
    field = page.locator('[data-pointer="/components/1/config/max_waves"]')
    faults = page.get_by_role("region", name="Faults")
    await expect(faults).to_contain_text("No faults")

    await field.get_by_role("textbox").fill("0")
    await expect(field.locator(".form-faults")).to_be_visible()
    await expect(faults).to_contain_text("agent_1 · config.max_waves")
    await expect(node_of(page, "agent_1")).to_have_class(re.compile("faulty"))
    await expect(page.get_by_role("button", name="Deploy", exact=True)).to_be_disabled()
    await page.locator(".canvas").click(position={"x": 8, "y": 8})
    await expect(field).to_have_count(0)
    await faults.get_by_role("listitem").get_by_role("button").click()
    await expect(field.get_by_role("textbox")).to_be_focused()
    await page.keyboard.press("Control+a")
    await page.keyboard.type("7")

    await expect(faults).to_contain_text("No faults")
    await expect(field.locator(".form-faults")).to_have_count(0)


async def test_a_dropped_document_stays_the_same_but_for_positions(page: Page, tmp_path: Path) -> None:
    odd = AGENT.replace('"source": "chat_1"', '"source": "chat_1",\n  "project_id": "kept", "ui": {"zoom": 1.50}')
    await open_editor(page)
    await page.evaluate(DROP, [odd, "My agent.pipe"])
    await expect(node_of(page, "llm_1")).to_be_visible()
    x, y = await middle_of(node_of(page, "llm_1").locator(".node-id"))
    await drag(page, node_of(page, "llm_1").locator(".node-id"), (x + 40, y + 90))

    async with page.expect_download() as waiting:
        await page.get_by_role("button", name="Download").click()
    download = await waiting.value
    assert download.suggested_filename == "My agent.pipe"
    await download.save_as(tmp_path / "kept.pipe")
    text = (tmp_path / "kept.pipe").read_text()
    kept: dict[str, Any] = json.loads(text)
    positions = kept["ui"].pop("positions")
    assert kept == json.loads(odd)
    assert set(positions) == {one["id"] for one in kept["components"]}
    assert '"zoom": 1.50' in text
    start = AGENT[: AGENT.index('"source"')]
    assert text.startswith(start)

    await page.evaluate(DROP, [text, "again.pipe"])
    await expect(page.locator(".editor-title .soft")).to_have_text("again.pipe")
    await node_of(page, "llm_1").click()
    assert json.loads(await text_of(page))["ui"]["positions"] == positions


async def test_changes_are_undone_and_redone(page: Page) -> None:
    await open_editor(page)
    await page.evaluate(DROP, [AGENT, "agent.pipe"])
    await node_of(page, "tool_1").focus()
    await page.keyboard.press("Delete")
    await expect(node_of(page, "tool_1")).to_have_count(0)
    await node_of(page, "agent_1").click()
    await page.get_by_label("id", exact=True).fill("boss")
    await page.keyboard.press("Enter")
    await expect(node_of(page, "boss")).to_be_visible()

    await page.keyboard.press("Control+z")
    await expect(node_of(page, "agent_1")).to_be_visible()
    await page.get_by_role("button", name="Undo").click()
    await expect(node_of(page, "tool_1")).to_be_visible()
    assert await text_of(page) == AGENT
    await page.get_by_role("button", name="Redo").click()
    await page.get_by_role("button", name="Redo").click()

    await expect(node_of(page, "boss")).to_be_visible()
    changed = await text_of(page)
    assert '"from": "boss"' in changed
    await page.get_by_role("button", name="New").click()
    await expect(page.locator("[data-node]")).to_have_count(0)
    await page.get_by_role("button", name="Undo").click()
    assert await text_of(page) == changed


async def test_the_text_and_the_graph_are_in_step(page: Page) -> None:
    await open_editor(page)
    await page.evaluate(DROP, [AGENT, "agent.pipe"])
    text = await text_of(page)
    area = page.get_by_label("Text of the pipeline")
    await area.fill(text.replace('"tool_1"', '"hammer"'))
    await expect(node_of(page, "hammer")).to_be_visible()

    await area.fill(text[:-20])
    await expect(page.get_by_role("region", name="Faults")).to_contain_text("This is not JSON")
    await node_of(page, "hammer").focus()
    await page.keyboard.press("Delete")
    await expect(page.get_by_text("The text is not JSON. Mend it first")).to_be_visible()
    assert await area.input_value() == text[:-20]


async def test_a_deployment_is_changed_and_deployed_again(page: Page, site: Site) -> None:
    pipeline = json.loads(AGENT)
    answer = await site.client.put("/v1/deployments/drawn", json={"pipeline": pipeline})
    version = answer.json()["version"]
    await page.goto("/#/editor/drawn")
    await node_of(page, "agent_1").click()
    await page.locator('[data-pointer="/components/1/config/max_waves"]').get_by_role("textbox").fill("3")
    await expect(page.get_by_role("region", name="Faults")).to_contain_text("No faults")
    await page.get_by_role("button", name="Deploy", exact=True).click()
    await page.get_by_role("dialog").get_by_role("button", name="Deploy it").click()
    await expect(page.get_by_text("@drawn is deployed")).to_be_visible()

    found = (await site.client.get("/v1/deployments/drawn")).json()
    await site.client.delete("/v1/deployments/drawn")
    pipeline["components"][1]["config"]["max_waves"] = 3
    assert found["version"] > version
    assert found["pipeline"] == pipeline


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious_in_the_editor(chromium: Browser, site: Site, scheme: Any) -> None:
    context = await chromium.new_context(base_url=site.url, color_scheme=scheme, bypass_csp=True)
    page = await context.new_page()
    await open_editor(page)
    await page.evaluate(DROP, [AGENT.replace('"max_waves": 4', '"max_waves": 0'), "agent.pipe"])
    await page.add_script_tag(path=AXE)
    await expect(page.locator(".faults .fault-item")).to_have_count(1)
    found = {}
    await node_of(page, "agent_1").focus()
    await page.keyboard.press("Enter")
    for pane in ("Settings", "Text", "Run", "connecting"):
        if pane == "connecting":
            await node_of(page, "agent_1").focus()
            await page.keyboard.press("c")
            await expect(page.locator(".connect-bar")).to_be_visible()
        else:
            await page.get_by_role("tab", name=pane).click()
        result = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [one for one in result["violations"] if one["impact"] in SERIOUS]
        if serious:
            found[pane] = [(one["id"], [place["html"][:200] for place in one["nodes"][:3]]) for one in serious]
    await context.close()
    assert not found, json.dumps(found, indent=1)


async def test_the_editor_is_usable_on_a_narrow_page(chromium: Browser, site: Site) -> None:
    context = await chromium.new_context(base_url=site.url, viewport={"width": 360, "height": 780})
    page = await context.new_page()
    await page.goto("/#/editor/agent")
    await node_of(page, "agent_1").click()
    await expect(page.locator('[data-pointer="/components/1/config/max_waves"]')).to_be_visible()
    for pane in ("Settings", "Text", "Run"):
        await page.get_by_role("tab", name=pane).click()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360, pane
    await context.close()
