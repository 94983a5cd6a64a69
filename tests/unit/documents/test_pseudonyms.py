"""Pseudonyms: made, stored, and taken back, also in pieces of a text."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from lanemesh import (
    Answer,
    Context,
    Document,
    Envelope,
    Group,
    In,
    Inputs,
    Invokes,
    LanemeshError,
    Node,
    Out,
    Outputs,
    ToolCall,
    node,
)
from lanemesh.extend import ABSENT
from lanemesh.testing import DictMemory, run_node
from lanemesh_orchestrator import Mesh
from lanemesh_services.documents.deanonymize import Deanonymize
from lanemesh_services.documents.privacy.pseudonyms import Pseudonyms, WrongKey, open_end, replaced
from lanemesh_services.documents.privacy.recognition import Entity, without_overlaps


async def test_happy_a_name_has_one_pseudonym_which_is_taken_back() -> None:
    memory = DictMemory()
    pseudonyms = Pseudonyms(memory, "")
    ann = await pseudonyms.of("PERSON", "Ann")
    assert ann == await pseudonyms.of("PERSON", "Ann") == await Pseudonyms(DictMemory(), "").of("PERSON", "Ann")
    assert ann != await pseudonyms.of("LOCATION", "Ann") != await pseudonyms.of("PERSON", "Bob")
    text = f"{ann} and <b> and {ann}, but <PERSON_AAAAA>"
    assert await pseudonyms.taken_back(text) == ("Ann and <b> and Ann, but <PERSON_AAAAA>", 1)


async def test_happy_with_a_key_names_are_stored_encrypted() -> None:
    memory = DictMemory()
    pseudonym = await Pseudonyms(memory, "secret key").of("PERSON", "Ann")
    stored = [entry async for entry in memory.list()]
    assert "Ann" not in json.dumps([entry.value for entry in stored], default=dict)
    assert await Pseudonyms(memory, "secret key").taken_back(pseudonym) == ("Ann", 0)
    for key in ("other key", ""):
        with pytest.raises(WrongKey):
            await Pseudonyms(memory, key).taken_back(pseudonym)


async def test_happy_two_names_with_one_code_have_longer_ones() -> None:
    memory = DictMemory()
    pseudonym = await Pseudonyms(memory, "").of("PERSON", "Ann")
    await memory.put(f"pseudonym/{pseudonym[1:-1]}", {"name": "Someone else"})
    longer = await Pseudonyms(memory, "").of("PERSON", "Ann")
    assert longer.startswith(pseudonym[:-1])
    assert len(longer) == len(pseudonym) + 1


def test_happy_texts_with_others_at_their_places() -> None:
    assert replaced("abcdef", [(0, 1, "X"), (3, 5, "")]) == "Xbcf"
    assert [open_end(text) for text in ("", "a", "a <", "<PERSON_AB", "<b", "< a", "<A>", "x <" + "A" * 70)] == [
        *(0, 0, 1, 10, 0, 0, 0, 0)
    ]
    found = [Entity("A", 0, 4, 0.5), Entity("B", 2, 9, 0.9), Entity("C", 9, 10, 0.5), Entity("D", 2, 5, 0.9)]
    assert [one.label for one in without_overlaps(found)] == ["B", "C"]


async def test_happy_answers_texts_and_documents_are_restored(caplog: pytest.LogCaptureFixture) -> None:
    memory = DictMemory()
    pseudonym = await Pseudonyms(memory, "").of("PERSON", "Ann")
    answer = f"Dear {pseudonym}, 1 < 2. <ORG_AAAAA>"
    with caplog.at_level(logging.WARNING):
        result = await _restored(memory, answers=[Answer(answer, finish_reason="stop")])
    assert result.answered == [Answer("Dear Ann, 1 < 2. <ORG_AAAAA>", finish_reason="stop")]
    assert "1 pseudonyms are unknown" in caplog.text
    assert (await _restored(memory, documents=Document(pseudonym, source="a"))).restored == [
        Document("Ann", source="a")
    ]
    assert (await _restored(memory, text=pseudonym)).named == ["Ann"]


async def test_happy_the_data_and_the_tool_calls_of_answers_are_restored(caplog: pytest.LogCaptureFixture) -> None:
    memory = DictMemory()
    pseudonym = await Pseudonyms(memory, "").of("PERSON", 'Ann "A" Lee')
    calls = (
        ToolCall("1", "find", json.dumps({"name": f"{pseudonym}!", "n": 1}).replace("<", "\\u003c")),
        ToolCall("2", "find", f"{pseudonym} is no JSON"),
        ToolCall("3", "find", '{"a":  1}'),
    )
    data = {"people": [{"name": pseudonym}, pseudonym, 3], pseudonym: "<ORG_AAAAA>"}
    with caplog.at_level(logging.WARNING):
        (answer,) = (await _restored(memory, answers=[Answer(data=data, tool_calls=calls)])).answered

    name = 'Ann "A" Lee'
    assert answer.data == {"people": ({"name": name}, name, 3), name: "<ORG_AAAAA>"}
    assert json.loads(answer.tool_calls[0].arguments) == {"name": f"{name}!", "n": 1}
    assert [call.arguments for call in answer.tool_calls[1:]] == [f"{name} is no JSON", '{"a":  1}']
    assert "1 pseudonyms are unknown" in caplog.text


async def _restored(memory: DictMemory, **options: Any) -> Any:
    from lanemesh.testing import run_node_async

    return await run_node_async(Deanonymize, memory=memory, **options)


async def test_error_another_key_is_a_fault() -> None:
    memory = DictMemory()
    pseudonym = await Pseudonyms(memory, "secret key").of("PERSON", "Ann")
    with pytest.raises(LanemeshError, match="same key") as raised:
        await _restored(memory, text=pseudonym)
    assert raised.value.fault.reason == "bad-pseudonym-key"


def test_error_without_a_memory_there_are_no_pseudonyms() -> None:
    with pytest.raises((LanemeshError, TypeError), match="memory"):
        run_node(Deanonymize, text="a")


class Speak(Node):
    """Sends an answer character by character, with pseudonyms that it has stored."""

    cue: In[str]
    answer: Out[Answer]
    invokes = (Invokes("memory"),)

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Sends it."""
        await inputs.next("cue")
        pseudonym = await Pseudonyms(context.memory.space("run"), "").of("PERSON", "Ann")
        for number, character in enumerate(f"{pseudonym}: 1 < 2 <"):
            await outputs.emit("answer", Answer(character), Envelope(group=Group("g", number)))
        last = Envelope(group=Group("g", 100, last=True))
        await outputs.emit("answer", Answer(finish_reason="stop"), last)
        await outputs.emit("answer", Answer("open <"), Envelope(group=Group("h", 0)))  # its producer ends before it


PIPELINE = {
    "version": 1,
    "source": "chat",
    "components": [
        {"id": "chat", "provider": "chat"},
        {"id": "speak", "provider": "speak", "input": [{"lane": "text", "from": "chat"}]},
        {"id": "names", "provider": "deanonymize", "input": [{"lane": "answers", "from": "speak"}]},
        {
            "id": "memory",
            "provider": "memory_internal",
            "control": [{"classType": "memory", "from": "speak"}, {"classType": "memory", "from": "names"}],
        },
        {"id": "out", "provider": "response", "input": [{"lane": "answers", "from": "names"}]},
    ],
}


async def test_happy_a_pseudonym_that_arrives_in_pieces_is_restored_and_other_text_is_not_held_back() -> None:
    async with Mesh(nodes=[Path(__file__)]) as mesh, mesh.run(PIPELINE, input="go") as run:
        answers = [output.value async for output in run.outputs()]
    texts = [answer.text for answer in answers]
    assert [text for text in texts if text] == ["Ann", ":", " ", "1", " ", "< ", "2", " ", "<", "open ", "<"]
    assert [answer.finish_reason for answer in answers if answer.finish_reason] == ["stop"]


class Known(Node):
    """Drops the texts of strangers."""

    text: In[str]
    known: Out[str]

    def process(self, context: Context) -> dict[str, str] | None:
        """Passes a text on, or drops it."""
        return None if self.text == "stranger" else {"known": self.text}


class Letters(Node):
    """Counts the letters of a text."""

    text: In[str]
    letters: Out[int]

    def process(self, context: Context) -> dict[str, int]:
        """Counts them."""
        return {"letters": len(self.text)}


@node(sync_mode="join")
def counted(name: str, letters: int) -> str:
    """Joins what descends from one text."""
    return f"{name} {letters}"


class Ended(Node):
    """Sends texts in pieces, whose ends have no value."""

    cue: In[str]
    text: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Sends them."""
        await inputs.next("cue")
        for group, text in (("g", "one"), ("h", "two <")):
            await outputs.emit("text", text, Envelope(group=Group(group, 0)))
            await outputs.emit("text", ABSENT, Envelope(group=Group(group, 1, last=True)))


async def _names_of(*components: dict[str, Any], response: str, inputs: list[str]) -> list[Any]:
    """What a pipeline returns, whose `names` is connected to the first of these components."""
    parts = [
        {"id": "chat", "provider": "chat"},
        *components,
        {"id": "names", "provider": "deanonymize", "input": [{"lane": "text", "from": components[0]["id"]}]},
        {"id": "memory", "provider": "memory_internal", "control": [{"classType": "memory", "from": "names"}]},
        {"id": "out", "provider": "response", "input": [{"lane": "text", "from": response}]},
    ]
    pipeline = {"version": 1, "source": "chat", "components": parts}
    async with Mesh(nodes=[Path(__file__)]) as mesh, mesh.run(pipeline, inputs=inputs) as run:
        return [output.value async for output in run.outputs()]


async def test_happy_of_a_text_that_was_dropped_before_a_join_nothing_is_sent() -> None:
    chat = [{"lane": "text", "from": "chat"}]
    known = {"id": "known", "provider": "known", "input": chat}
    letters = {"id": "letters", "provider": "letters", "input": chat}
    meeting = [{"lane": "text", "from": "names"}, {"lane": "data", "from": "letters"}]
    counted = {"id": "counted", "provider": "counted", "input": meeting}
    inputs = ["Ann", "stranger", "Robert"]

    assert await _names_of(known, letters, counted, response="names", inputs=inputs) == ["Ann", "Robert"]
    assert await _names_of(known, letters, counted, response="counted", inputs=inputs) == ["Ann 3", "Robert 6"]


async def test_happy_an_end_without_a_value_adds_only_what_was_held_back() -> None:
    ended = {"id": "ended", "provider": "ended", "input": [{"lane": "text", "from": "chat"}]}
    assert await _names_of(ended, response="names", inputs=["go"]) == ["one", "two ", "<"]
