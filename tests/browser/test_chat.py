"""The chat with deployed pipelines: streamed answers, sessions, stop, edit, files, and approvals inside an answer."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from browser.conftest import Site, Watched
from browser.test_views import AXE, SERIOUS
from rigs.runs import line, node, pipeline

pytestmark = pytest.mark.asyncio(loop_scope="session")


def answering(provider: str, **config: Any) -> dict[str, Any]:
    """A chat that a node answers."""
    return pipeline(
        {"id": "chat", "provider": "chat"},
        node("answer_1", provider, {"lane": "questions", "from": "chat"}, **config),
        node("out", "response", {"lane": "answers", "from": "answer_1"}, lane="answers"),
        description="A node of the tests answers.",
    )


CHATS: dict[str, dict[str, Any]] = {
    "drip": answering("drip"),
    "brief": answering("drip", count=3),
    "whole": answering("drip", count=3),
    "short": answering("llm_scripted", script=["one two three four"], max_tokens=2),
    "recall": answering("recall"),
    "describe": answering("describe"),
    "tag": line(node("tag_1", "tag", "chat", mark="+")),
    "careful": line(node("careful_1", "careful", "chat")),
    "failing": line(node("fails_1", "fail_running", "chat")),
    "listen": pipeline(
        {"id": "file_1", "provider": "file"},
        node("listen_1", "listen", {"lane": "audio", "from": "file_1"}),
        node("out", "response", "listen_1", lane="text"),
    ),
}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="  # one of PNG
DROP = """files => {
    const data = new DataTransfer();
    for (const {name, type, content} of files) {
        const bytes = Uint8Array.from(atob(content), one => one.charCodeAt(0));
        data.items.add(new File([bytes], name, {type}));
    }
    document.querySelector(".chat").dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def chats(site: Site) -> AsyncIterator[None]:
    """The pipelines of these tests, deployed."""
    for name, document in CHATS.items():
        await site.mesh.deploy(name, document)
    yield
    for name in CHATS:
        await site.mesh.undeploy(name)


def field(page: Page) -> Locator:
    """The field for a message."""
    return page.get_by_role("textbox", name="Message")


def answers(page: Page) -> Locator:
    """The answers that are shown."""
    return page.get_by_role("article", name="Answer")


async def ask(page: Page, text: str) -> None:
    """Writes a message and sends it by the keyboard."""
    await field(page).fill(text)
    await field(page).press("Enter")


async def answered(page: Page, number: int, text: str | re.Pattern[str]) -> None:
    """Waits for the end of an answer."""
    answer = answers(page).nth(number)
    await expect(answer).to_contain_text(text)
    await expect(answer).to_have_attribute("aria-busy", "false")


async def test_an_answer_is_streamed_as_markdown(page: Page) -> None:
    await page.goto("/#/chat/drip")
    await field(page).fill("one line")
    await field(page).press("Shift+Enter")
    await field(page).press_sequentially("another")
    await field(page).press("Enter")

    answer = answers(page).first
    await expect(answer.locator("table td").first).to_have_text("Oslo")
    await expect(answer).to_contain_text("5 6 7")
    await expect(answer).to_have_attribute("aria-busy", "true")
    await expect(page.get_by_role("article", name="Question")).to_have_text("one line\nanother")
    await expect(field(page)).to_be_focused()
    await expect(field(page)).to_have_value("")
    await page.get_by_role("button", name="Stop").click()

    await expect(answer.get_by_text("Stopped")).to_be_visible()
    await expect(answer).to_contain_text("5 6 7")


async def test_an_answer_that_is_cut_off_is_marked_also_after_a_reload(page: Page) -> None:
    await page.goto("/#/chat/short")
    await ask(page, "count")
    await answered(page, 0, "one two")
    await expect(answers(page).first).to_contain_text("The answer is cut off")
    await page.reload()
    await answered(page, 0, "one two")
    await expect(answers(page).first).to_contain_text("The answer is cut off")
    await page.goto("/#/chat/whole")
    await ask(page, "count")
    await answered(page, 0, re.compile("."))
    await expect(answers(page).first).not_to_contain_text("cut off")


async def test_escape_stops_and_the_run_is_cancelled(page: Page, site: Site) -> None:
    await page.goto("/#/chat/drip")
    await ask(page, "count")
    await expect(answers(page)).to_contain_text("3 4 5")
    await field(page).press("Escape")
    await expect(answers(page).get_by_text("Stopped")).to_be_visible()

    link = await answers(page).get_by_role("link", name=re.compile("^Run ")).get_attribute("href")
    assert link
    record = await site.client.get(f"/v1/runs/{link.rpartition('/')[2]}")
    assert record.json()["state"] == "cancelled"


async def test_a_second_turn_has_the_history_and_a_reload_shows_both(page: Page) -> None:
    await page.goto("/#/chat/recall")
    await ask(page, "first")
    await answered(page, 0, "now:first")
    await ask(page, "second")
    await answered(page, 1, "user:first|assistant:now:first|now:second")
    await expect(page).to_have_url(re.compile(r"#/chat/recall/[0-9a-f]{32}$"))

    await page.reload()
    await expect(answers(page)).to_have_count(2)
    await answered(page, 1, "user:first|assistant:now:first|now:second")
    await ask(page, "third")
    await answered(page, 2, "user:second")


async def test_a_reload_resumes_a_running_answer(page: Page) -> None:
    await page.goto("/#/chat/drip")
    await ask(page, "count")
    await expect(answers(page)).to_contain_text("3 4 5")
    await page.reload()

    await expect(answers(page)).to_contain_text("Packing list")
    await expect(answers(page)).to_contain_text("20 21 22")
    await page.get_by_role("button", name="Stop").click()
    await expect(answers(page).get_by_text("Stopped")).to_be_visible()


async def test_an_edited_question_goes_on_in_a_fork(page: Page) -> None:
    await page.goto("/#/chat/recall")
    for number, text in enumerate(("one", "two", "three")):
        await ask(page, text)
        await answered(page, number, f"now:{text}")
    before = page.url
    second = page.get_by_role("article", name="Question").nth(1)
    await second.get_by_role("button", name="Edit the question").click()
    await page.get_by_role("textbox", name="Question").fill("other")
    await page.get_by_role("textbox", name="Question").press("Enter")

    await answered(page, 1, "user:one|assistant:now:one|now:other")
    await expect(answers(page)).to_have_count(2)
    assert page.url != before
    await page.reload()
    await answered(page, 1, "now:other")
    await page.go_back()
    await expect(answers(page)).to_have_count(3)
    await answered(page, 2, "now:three")


async def test_a_question_is_edited_while_it_is_answered(page: Page, site: Site) -> None:
    await page.goto("/#/chat/drip")
    await ask(page, "count")
    await expect(answers(page)).to_contain_text("3 4 5")
    link = await page.evaluate("location.hash")
    await page.get_by_role("button", name="Edit the question").click()
    await page.get_by_role("textbox", name="Question").fill("count again")
    await page.get_by_role("button", name="Send", exact=True).first.click()
    await expect(page.get_by_role("article", name="Question")).to_have_text("count again")
    await expect(answers(page)).to_contain_text("3 4 5")

    kept = await site.client.get(f"/v1/sessions/{link.rpartition('/')[2]}")
    assert [one["state"] for one in kept.json()["turns"]] == ["cancelled"]
    await page.get_by_role("button", name="Stop").click()
    await expect(answers(page).get_by_text("Stopped")).to_be_visible()


async def test_an_answer_is_given_again(page: Page) -> None:
    await page.goto("/#/chat/recall")
    await ask(page, "one")
    await answered(page, 0, "now:one")
    before = page.url
    await page.get_by_role("button", name="Regenerate").click()

    await expect(page).not_to_have_url(before)
    await answered(page, 0, re.compile("^now:one"))
    await expect(answers(page)).to_have_count(1)


async def test_sessions_are_listed_opened_and_deleted(page: Page) -> None:
    await page.goto("/#/chat/brief")
    for text in ("about boots", "about coats"):
        await page.get_by_role("link", name="New conversation").first.click()
        await expect(answers(page)).to_have_count(0)
        await ask(page, text)
        await answered(page, 0, "end")
    side = page.get_by_role("complementary", name="Conversations")
    await expect(side.get_by_role("listitem")).to_have_count(2)
    await expect(page.get_by_role("heading", name="about coats")).to_be_visible()

    await side.get_by_role("link", name=re.compile("about boots")).click()
    await expect(page.get_by_role("article", name="Question")).to_have_text("about boots")
    await side.get_by_role("button", name="Delete about boots").click()
    await side.get_by_role("button", name="Delete about boots for good").click()

    await expect(side.get_by_role("listitem")).to_have_count(1)
    await expect(page).to_have_url(re.compile("#/chat/brief$"))


async def test_tool_calls_are_cards_in_the_answer(page: Page) -> None:
    await page.goto("/#/chat/agent")
    await ask(page, "What do I pack?")
    await expect(answers(page)).to_have_attribute("aria-busy", "false")

    card = answers(page).locator(".tool-card").first
    await expect(card).to_contain_text('city: "Oslo"')
    await expect(card).to_contain_text("degrees: 9")
    await expect(answers(page).get_by_text("I need the weather in both cities.")).to_be_visible()
    await page.reload()
    await answers(page).get_by_role("button", name="Steps").click()
    await expect(card).to_contain_text("degrees: 9")


@pytest.mark.parametrize(("button", "result"), [("Approve", "approved"), ("Refuse", "refused: not today")])
async def test_an_approval_is_decided_in_the_answer(page: Page, button: str, result: str) -> None:
    await page.goto("/#/chat/careful")
    await ask(page, "everything")
    card = answers(page).get_by_role("article", name=re.compile("Approval of"))
    await expect(card).to_contain_text("mail.send")
    await expect(answers(page)).to_contain_text("Waiting for your decision")
    await card.get_by_label("Reason of a refusal").fill("not today")
    await card.get_by_role("button", name=button).click()

    await answered(page, 0, result)


async def test_dropped_files_reach_the_question(page: Page) -> None:
    await page.goto("/#/chat/describe")
    await expect(field(page)).to_be_visible()
    files = [
        {"name": "dot.png", "type": "image/png", "content": PIXEL},
        {"name": "notes.txt", "type": "text/plain", "content": "Ym9vdHM="},
        {"name": "all.zip", "type": "application/zip", "content": "UEsDBP//AAA="},
    ]
    await page.evaluate(DROP, files)
    await expect(page.get_by_text("all.zip is refused")).to_be_visible()
    await expect(page.get_by_role("list", name="Files of the message").get_by_role("listitem")).to_have_count(2)
    await ask(page, "what is it")

    await answered(page, 0, "images: ['image/png of 70 bytes']; documents: ['notes.txt: boots']")
    for _ in range(2):
        await expect(page.get_by_role("img", name="Image of the question")).to_be_visible()
        await expect(page.get_by_role("article", name="Question")).to_contain_text("notes.txt")
        await page.reload()


async def test_a_pasted_image_is_added_and_removed(page: Page) -> None:
    await page.goto("/#/chat/describe")
    await field(page).focus()
    await page.evaluate(
        """content => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(atob(content), one => one.charCodeAt(0))], "shot.png", {type: "image/png"}));
            const options = {clipboardData: data, bubbles: true, cancelable: true};
            document.activeElement.dispatchEvent(new ClipboardEvent("paste", options));
        }""",
        PIXEL,
    )
    await page.get_by_role("button", name="Remove shot.png").click()

    await expect(page.get_by_role("list", name="Files of the message")).to_have_count(0)
    await expect(page.get_by_role("button", name="Send")).to_be_disabled()


async def test_a_pipeline_of_texts_refuses_images_and_gets_files_as_text(page: Page) -> None:
    await page.goto("/#/chat/tag")
    await expect(field(page)).to_be_visible()
    files = [
        {"name": "dot.png", "type": "image/png", "content": PIXEL},
        {"name": "notes.txt", "type": "text/plain", "content": "Ym9vdHM="},
    ]
    await page.evaluate(DROP, files)
    await expect(page.get_by_text("dot.png is refused: this pipeline takes no images.")).to_be_visible()
    await expect(page.get_by_role("list", name="Files of the message").get_by_role("listitem")).to_have_count(1)
    await ask(page, "pack")

    await answered(page, 0, re.compile(r"\+pack.*notes\.txt:.*boots", re.DOTALL))


async def test_a_recording_is_sent_where_a_pipeline_takes_audio(page: Page) -> None:
    await page.goto("/#/chat/recall")
    await expect(field(page)).to_be_visible()
    await expect(page.get_by_role("button", name="Record audio")).to_have_count(0)
    await page.context.grant_permissions(["microphone"])
    await page.get_by_label("Pipeline").select_option("listen")
    await page.get_by_role("button", name="Record audio").click()
    await expect(page.get_by_role("button", name="Stop recording")).to_contain_text("0:01")
    await page.get_by_role("button", name="Stop recording").click()
    await expect(page.get_by_role("list", name="Files of the message")).to_contain_text("recording.webm")
    await page.get_by_role("button", name="Send").click()

    await answered(page, 0, "heard audio/webm, some bytes")
    await expect(page).to_have_url(re.compile("#/chat/listen$"))


async def test_a_failed_answer_shows_its_cause_and_links_to_its_run(page: Page) -> None:
    await page.goto("/#/chat/failing")
    await ask(page, "x")
    await answered(page, 0, "a bad word")
    await page.reload()
    await answered(page, 0, "a bad word")
    await answers(page).get_by_role("link", name=re.compile("^Run ")).click()

    await expect(page.get_by_role("heading", name="failed")).to_be_visible()


async def test_a_question_that_cannot_be_asked_is_sent_again(page: Page, site: Site, watched: Watched) -> None:
    watched.expected = ("404",)
    await site.mesh.deploy("gone", CHATS["brief"])
    await page.goto("/#/chat/gone")
    await expect(field(page)).to_be_visible()
    await site.mesh.undeploy("gone")
    await ask(page, "anyone there?")
    await expect(answers(page).get_by_role("alert")).to_contain_text("gone")
    await site.mesh.deploy("gone", CHATS["brief"])
    await answers(page).get_by_role("button", name="Send again").click()

    await answered(page, 0, "end")
    await expect(page.get_by_role("article", name="Question")).to_have_text("anyone there?")
    await expect(answers(page)).to_have_count(1)
    await site.mesh.undeploy("gone")


async def test_an_unknown_session_says_so(page: Page, watched: Watched) -> None:
    watched.expected = ("404",)
    await page.goto(f"/#/chat/recall/{'0' * 32}")

    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_role("link", name="Begin another conversation").click()
    await ask(page, "here")
    await answered(page, 0, "now:here")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everybody_can_use_it(chromium: Browser, site: Site, scheme: Any) -> None:
    context = await chromium.new_context(base_url=site.url, color_scheme=scheme, bypass_csp=True)
    page = await context.new_page()
    found = {}
    for name, width in (("approval", 1280), ("agent", 1280), ("brief", 360), ("failing", 360)):
        await page.set_viewport_size({"width": width, "height": 780})
        await page.goto(f"/#/chat/{name}")
        await ask(page, "What is 6 * 7, and why is it the answer to so many other questions?")
        if name == "approval":
            await expect(answers(page).get_by_role("button", name="Approve")).to_be_visible()
        else:
            await expect(answers(page)).to_have_attribute("aria-busy", "false")
        if width == 360:
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            await page.get_by_role("button", name="Conversations").click()
            await expect(page.get_by_role("dialog", name="Conversations").get_by_role("listitem").first).to_be_visible()
        if not await page.evaluate("'axe' in window"):
            await page.add_script_tag(path=AXE)
        result = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [one for one in result["violations"] if one["impact"] in SERIOUS]
        if serious:
            found[name] = [(one["id"], [place["html"][:200] for place in one["nodes"][:3]]) for one in serious]
        if width == 360:
            await page.keyboard.press("Escape")
        elif name == "approval":
            await page.get_by_role("button", name="Stop").click()
    await context.close()
    assert not found, json.dumps(found, indent=1)
