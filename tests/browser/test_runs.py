"""Runs on the page: watched, decided, cancelled, run again; failures with their cause."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from browser.conftest import Site
from rigs.cutting_proxy import cutting_proxy
from rigs.runs import lane, line, node, pipeline, response

pytestmark = pytest.mark.asyncio(loop_scope="session")

TAG = line(node("tag_1", "tag", "chat", mark="+"))
CAREFUL = line(node("careful_1", "careful", "chat"))
SLOW = pipeline(
    node("counter_1", "counter", count=100_000),
    node("quick_1", "quick", lane("counter_1", buffer_limit=20)),
    node("slow_1", "slow", lane("quick_1", buffer_limit=10)),
    response("slow_1"),
    name="slow consumer",
)
CUTS = 100
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""A picture of one pixel."""


async def test_a_run_is_watched_live(page: Page, site: Site) -> None:
    run = await site.start(TAG, open_input=True)
    await page.goto(f"/#/runs/{run}")
    await expect(page.locator(".page-head").get_by_text("running")).to_be_visible()
    await expect(page.get_by_role("button", name=re.compile("^tag_1 tag .*running"))).to_be_visible()

    for text in ("one", "two"):
        await site.client.post(f"/v1/runs/{run}/input", json={"value": text})
        await expect(page.get_by_role("article", name="Output of out")).to_contain_text(f"+{text}")
    await site.client.post(f"/v1/runs/{run}/input", json={"end": True})

    await expect(page.locator(".page-head").get_by_text("completed")).to_be_visible()
    await expect(page.get_by_role("button", name=re.compile("^tag_1 tag .*completed"))).to_be_visible()
    await expect(page).to_have_title(re.compile("completed"))


async def test_the_node_that_holds_up_a_run_is_named_with_the_evidence(page: Page, site: Site) -> None:
    run = await site.start(SLOW)
    await page.goto(f"/#/runs/{run}")

    line_ = page.get_by_role("button", name=re.compile("slow_1 holds up the run"))
    await expect(line_).to_contain_text(re.compile(r"full \((8|9|10) of 10\)"))
    await expect(line_).to_contain_text("wait for it")
    await line_.click()
    await expect(page.get_by_role("complementary", name="Details of the selection")).to_contain_text("slow_1")
    await page.get_by_role("button", name="Cancel", exact=True).click()

    await expect(page.locator(".page-head").get_by_text("cancelled", exact=True)).to_be_visible()
    await expect(line_).to_have_count(0)


async def test_tool_calls_are_cards_with_arguments_and_results(page: Page, site: Site) -> None:
    run = await site.finish("@agent", input="What do I pack?")
    await page.goto(f"/#/runs/{run}?tab=agents")

    card = page.locator(".tool-card").first
    await expect(card).to_contain_text('city: "Oslo"')
    await expect(card).to_contain_text("degrees: 9")
    await expect(page.get_by_text("I need the weather in both cities.")).to_be_visible()
    await expect(page.locator(".edge.control")).to_have_count(2)


@pytest.mark.parametrize(("button", "result"), [("Approve", "approved"), ("Refuse", "refused: not today")])
async def test_an_approval_is_decided_by_a_button(page: Page, site: Site, button: str, result: str) -> None:
    run = await site.start(CAREFUL, input="everything")
    await page.goto(f"/#/runs/{run}")
    card = page.get_by_role("article", name=re.compile("Approval of"))
    await expect(card).to_contain_text("mail.send")
    await expect(page.get_by_role("button", name=re.compile("careful_1 waits for your decision"))).to_be_visible()

    await card.get_by_label("Reason of a refusal").fill("not today")
    await card.get_by_role("button", name=button).click()

    await expect(page.get_by_role("article", name="Output of out")).to_contain_text(result)
    await expect(page.locator(".page-head").get_by_text("completed")).to_be_visible()


async def test_a_failed_run_shows_its_cause_first(page: Page, site: Site) -> None:
    run = await site.finish(
        line(node("fails_1", "fail_running", "chat"), node("after_1", "pass", "fails_1")), input="x"
    )
    await page.goto(f"/#/runs/{run}")

    cause = page.get_by_role("alert")
    await expect(cause.get_by_role("heading")).to_have_text("fails_1 failed")
    await expect(cause).to_contain_text("a bad word")
    await expect(cause).to_contain_text("of the node type fail_running on the server")
    await expect(cause.get_by_label("Traceback")).to_contain_text("run_nodes.py")
    await expect(page.locator(".node.failed:not(.secondary)")).to_have_count(1)
    await expect(page.get_by_text("as consequences")).to_be_visible()


@pytest.mark.timeout(300)
async def test_a_hundred_cuts_lose_and_double_nothing(chromium: Browser, site: Site) -> None:
    count = 4_000
    run = await site.finish(pipeline(node("counter_1", "counter", count=count), response("counter_1")))
    async with cutting_proxy(site.url, CUTS) as proxy:
        context = await chromium.new_context()
        cut = await context.new_page()
        await cut.goto(f"{proxy.url}/#/runs/{run}")
        output = cut.get_by_role("article", name="Output of out")
        await expect(output).to_contain_text(str(count - 1), timeout=250_000)

        texts = await output.locator(".markdown").all_inner_texts()
        assert " ".join(texts).split() == [str(number) for number in range(count)]
        assert proxy.done == CUTS
        await context.close()


async def test_details_show_config_counts_and_the_last_items(page: Page, site: Site) -> None:
    run = await site.finish(TAG, input="hello", trace="full")
    await page.goto(f"/#/runs/{run}")
    details = page.get_by_role("complementary", name="Details of the selection")

    await page.get_by_role("button", name=re.compile("^tag_1")).press("Enter")
    await expect(details).to_contain_text('mark: "+"')
    await expect(details).to_contain_text("Firings")
    await details.get_by_role("button", name=re.compile("tag_1.tagged")).click()

    await expect(details).to_contain_text("In the lane")
    await expect(details.get_by_role("listitem")).to_contain_text("+hello")


async def test_a_run_is_started_again_with_its_input(page: Page, site: Site) -> None:
    run = await site.finish(TAG, input="hello")
    await page.goto(f"/#/runs/{run}")

    await page.get_by_role("button", name="Run again").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_label("Input")).to_have_value("hello")
    await dialog.get_by_label("Input").fill("again")
    await dialog.get_by_role("button", name="Run", exact=True).click()

    await expect(page.get_by_role("article", name="Output of out")).to_contain_text("+again")
    assert run not in page.url


async def test_markdown_of_a_model_never_becomes_html(page: Page, site: Site) -> None:
    text = "**bold** <img src=x onerror=alert(1)>\n\n[bad](javascript:alert(1)) ![remote](http://other.example/x.png)\n\n<script>x</script>"
    run = await site.finish(TAG, input=text)
    await page.goto(f"/#/runs/{run}")

    output = page.get_by_role("article", name="Output of out")
    await expect(output.locator("strong", has_text="bold")).to_be_visible()
    await expect(output.locator(".markdown img, .markdown script")).to_have_count(0)
    assert [await one.get_attribute("href") for one in await output.locator(".markdown a").all()] == [
        "http://other.example/x.png"
    ]


async def test_images_and_audio_are_shown(page: Page, site: Site) -> None:
    image = {"mime_type": "image/png", "content": PNG}
    audio = {"mime_type": "audio/wav", "content": base64.b64encode(b"RIFF" + bytes(40)).decode()}
    media = pipeline({"id": "file", "provider": "file"}, *(_target(kind) for kind in ("image", "audio")))
    inputs = [{"lane": "image", "value": image}, {"lane": "audio", "value": audio}]
    run = await site.finish(media, inputs=inputs)
    await page.goto(f"/#/runs/{run}")

    picture = page.get_by_role("img", name="Image from image")
    await expect(picture).to_be_visible()
    assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
    await expect(page.locator("audio[controls]")).to_have_count(1)
    await expect(page.get_by_role("link", name="Download")).to_have_count(2)


def _target(kind: str) -> dict[str, Any]:
    return {**node(kind, "response", lane=kind), "input": [{"lane": kind, "from": "file"}]}


async def test_the_log_and_the_timeline_are_shown(page: Page, site: Site) -> None:
    run = await site.finish(
        pipeline(
            node("counter_1", "counter", count=60, pause=0.02),
            node("quick_1", "quick", "counter_1"),
            response("quick_1"),
        )
    )
    await page.goto(f"/#/runs/{run}?tab=log")
    await expect(page.get_by_role("list", name="Log")).to_contain_text("passed 59")
    await page.get_by_label("Text in the log").fill("passed 7 ")
    await expect(page.get_by_role("list", name="Log").get_by_role("listitem")).to_have_count(1)

    await page.get_by_role("tab", name="Timeline").click()
    await expect(page.get_by_role("row", name=re.compile("quick_1"))).to_be_visible()
