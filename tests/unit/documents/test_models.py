"""Nodes that read documents with a connected model: summaries, extractions, translations."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lanemesh import Answer, Document, LanemeshError, Media, ProgressUpdate, Usage
from lanemesh.json_values import freeze_json
from lanemesh.testing import run_node
from lanemesh_services.documents.extract import Extract
from lanemesh_services.documents.extraction import Schema, json_in, merged
from lanemesh_services.documents.summarise import Summarise
from lanemesh_services.documents.translate import Translate
from lanemesh_services.documents.units import units_of

from unit.documents.models import Answering


def text_of(answers: list[Answer]) -> str:
    return "".join(answer.text for answer in answers)


def test_happy_a_short_text_is_summarised_at_once_and_the_summary_streams() -> None:
    model = Answering(lambda text: f"About {text}")
    result = run_node(Summarise, text="rain", llm=model)

    assert [answer.text for answer in result.answers] == ["About", " rain", ""]
    assert result.answers[-1] == Answer(finish_reason="stop", usage=Usage(1, 2))
    assert "".join(result.summary) == "About rain"
    assert len(model.requests) == 1


def test_happy_a_long_text_is_read_in_parts_several_at_a_time_and_in_order() -> None:
    parts = [f"Part {number} says {'much ' * 30}." for number in range(6)]
    model = Answering(lambda text: " ".join(text.split()[:2]), most=3)
    result = run_node(Summarise, text="\n\n".join(parts), llm=model, config={"part": 200, "concurrency": 3})

    assert model.most_active == 3
    assert model.requests[-1].messages[-1].content == "\n\n".join(f"Part {number}" for number in range(6))
    assert text_of(result.answers) == "Part 0"
    assert result.answers[-1].usage == Usage(7, 14)
    (progress,) = {update.total for update in result.updates if isinstance(update, ProgressUpdate)}
    assert progress == 6


def test_happy_notes_that_are_too_long_are_noted_again_until_they_fit(caplog: pytest.LogCaptureFixture) -> None:
    model = Answering(lambda text: text)  # its notes are as long as its parts
    with caplog.at_level(logging.WARNING):
        result = run_node(Summarise, text="Words and words. " * 200, llm=model, config={"part": 400})
    assert len(model.requests[-1].messages[-1].content) <= 400
    assert text_of(result.answers)
    assert "notes are cut to 100 characters" in caplog.text


def test_happy_documents_have_one_summary_together() -> None:
    model = Answering(lambda text: text.replace("\n\n", "+"))
    pages = [Document("one", source="a"), Document("two", source="a")]
    assert text_of(run_node(Summarise, documents=pages, llm=model).answers) == "one+two"


def test_error_summaries_that_cannot_be_made(caplog: pytest.LogCaptureFixture) -> None:
    cut = Answering(lambda text: text, reason="length")
    with pytest.raises(LanemeshError, match="the summary of a is cut off"):
        run_node(Summarise, documents=Document("one", source="a"), llm=cut)
    unread = Document("", source="a.pdf", file=Media("application/pdf", b"%PDF"))
    with pytest.raises(LanemeshError, match="Connect a parse"):
        run_node(Summarise, documents=unread, llm=cut)
    with pytest.raises(LanemeshError, match="several of the inputs text, documents"):
        run_node(Summarise, documents=Document("a"), text="b", llm=cut)
    with caplog.at_level(logging.WARNING):
        assert run_node(Summarise, text=" ", llm=cut).answers == [Answer(finish_reason="stop")]
    assert "empty summary" in caplog.text


async def test_shutdown_the_other_calls_are_cancelled_when_one_fails() -> None:
    def answer(text: str) -> str:
        raise RuntimeError("the model is gone")

    model = Answering(answer, most=4)
    with pytest.raises(Exception, match="the model is gone"):
        await _run(model)
    assert model.active == 0


async def _run(model: Answering) -> Any:
    from lanemesh.testing import run_node_async

    return await run_node_async(Summarise, text="Some words. " * 200, llm=model, config={"part": 200})


SCHEMA = {
    "type": "object",
    "properties": {"total": {"type": "number"}, "items": {"type": "array", "items": {"type": "string"}}},
    "required": ["total"],
    "additionalProperties": False,
}


def test_happy_a_result_is_checked_and_leaves_with_its_document() -> None:
    document = Document("Total: 5", source="a.pdf", metadata={"page": 1})
    result = run_node(Extract, documents=document, llm=['{"total": 5}'], config={"schema": SCHEMA})

    assert result.data == [{"total": 5}]
    assert result.answers[0].data == {"total": 5}
    assert result.answers[0].finish_reason == "stop"
    assert result.enriched[0].metadata == {"page": 1, "extracted": {"total": 5}}


def test_happy_an_answer_that_breaks_the_schema_is_repaired_once() -> None:
    answers = iter(["The total is five.", '```json\n{"total": 5}\n```'])
    model = Answering(lambda _: next(answers))
    assert run_node(Extract, text="Total: 5", llm=model, config={"schema": SCHEMA}).data == [{"total": 5}]
    last = model.requests[-1].messages
    assert [message.role for message in last] == ["system", "user", "assistant", "user"]
    assert "it is not JSON" in last[-1].content
    assert dict(model.requests[0].schema or {}) == freeze_json(SCHEMA)


def test_error_an_answer_that_breaks_the_schema_twice() -> None:
    model = Answering(lambda _: '{"total": "five"}')
    with pytest.raises(LanemeshError, match=r"a\.pdf: .* at /total") as raised:
        run_node(Extract, documents=Document("x", source="a.pdf"), llm=model, config={"schema": SCHEMA})
    assert raised.value.fault.reason == "schema-not-followed"
    assert len(model.requests) == 2


def test_happy_the_results_of_the_parts_of_a_long_text_are_merged() -> None:
    def answer(text: str) -> str:
        return (
            '{"total": 5}'
            if "Total" in text
            else '{"items": ["pen", "ink"]}'
            if "pen" in text
            else '{"items": ["ink"]}'
        )

    text = f"pen and ink {'.' * 150}\n\nink {'.' * 150}\n\nTotal {'.' * 150}"
    model = Answering(answer)
    result = run_node(Extract, text=text, llm=model, config={"schema": SCHEMA, "part": 200})
    assert result.data == [{"items": ["pen", "ink"], "total": 5}]
    assert "required" not in (model.requests[0].schema or {})

    without = Answering(lambda _: '{"items": []}')
    with pytest.raises(LanemeshError, match="total"):
        run_node(Extract, text=text, llm=without, config={"schema": SCHEMA, "part": 200})


@pytest.mark.parametrize(
    "schema", [{}, {"type": "array"}, {"type": "object", "properties": 1}, {"type": "object", "$ref": "http://x/y"}]
)
def test_error_a_schema_that_is_none(schema: dict[str, Any]) -> None:
    with pytest.raises(LanemeshError, match=r"config\.schema") as raised:
        run_node(Extract, text="x", llm=["{}"], config={"schema": schema})
    assert raised.value.fault.reason == "bad-schema"


def test_happy_json_in_answers_and_merging() -> None:
    assert json_in(' {"a": 1} ') == ({"a": 1}, "")
    assert json_in("Here:\n```json\n[1]\n```\nDone.") == ([1], "")
    assert json_in("[" * 1_000)[1].startswith("it is nested deeper")
    assert json_in("NaN")[1].startswith("it is not JSON")
    assert merged([{"a": None, "b": [1]}, {"a": 2, "b": [1, 2], "c": ""}, None]) == {"a": 2, "b": [1, 2], "c": None}
    required = {
        "type": "object",
        "properties": {"required": {"type": "array", "minItems": 1}},
        "required": ["required"],
    }
    assert Schema.of(required).without_required().schema["properties"] == {"required": {"type": "array"}}


TEXT = """# Title

First line of a
paragraph.

- one
  2. two
> quoted

| a | b |
|---|---|
| c | d |

```python
code = "stays"
```

---
Last.
"""


def test_happy_the_structure_of_a_translation_is_that_of_the_text() -> None:
    model = Answering(str.upper)
    result = run_node(Translate, documents=Document(TEXT, source="a.md"), llm=model, config={"language": "German"})

    expected = TEXT.upper().replace('```PYTHON\nCODE = "STAYS"', '```python\ncode = "stays"')
    assert result.translated[0].content == "".join(result.translation) == expected
    assert (result.translated[0].source, result.translated[0].metadata["language"]) == ("a.md", "German")
    assert {request.messages[-1].content for request in model.requests} >= {"First line of a\nparagraph.", "one", "two"}
    assert "into German" in model.requests[0].messages[0].content


def test_happy_the_units_of_a_text_are_the_text() -> None:
    for text in (TEXT, "", "\n\n", "one", "  x\n\n\ty ", "word " * 1_000, "| a\n", "# \n#\n- \n"):
        units = units_of(text, 200)
        assert "".join(unit.before + unit.text + unit.after for unit in units) == text
        assert all(len(unit.text) <= 200 for unit in units if unit.translatable and not unit.bars)


@given(st.text(alphabet="ab é\n\t|#->`*1.:=\r\u2028", max_size=80), st.integers(1, 20))
@settings(max_examples=300, deadline=None)
def test_happy_the_units_of_any_text_are_the_text(text: str, most: int) -> None:
    assert "".join(unit.before + unit.text + unit.after for unit in units_of(text, most)) == text


def test_error_a_row_whose_translation_loses_its_cells_is_left_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        result = run_node(Translate, text="| a | b |\n", llm=["only one"])
    assert "".join(result.translation) == "| a | b |\n"
    assert "is left untranslated" in caplog.text
    with pytest.raises(LanemeshError, match="translation of a text is cut off"):
        run_node(Translate, text="a", llm=Answering(str.upper, reason="length"))
