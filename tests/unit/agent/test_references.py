"""References to stored results, their formats and paths, and summaries. Pure."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from lanemesh_services.agent import references
from lanemesh_services.agent.formats import render
from lanemesh_services.agent.paths import value_at
from lanemesh_services.agent.references import (
    MAX_INSERTED,
    MAX_REFERENCES,
    Insertions,
    ReferenceStream,
    resolved_arguments,
    resolved_text,
)
from lanemesh_services.agent.result_store import MAX_PEEK, ResultStore

ROWS = [{"n": 1, "name": "a|b"}, {"n": 2, "more": None}]


@pytest.fixture
def store() -> ResultStore:
    store = ResultStore()
    store.add("wave-1.r1", json.dumps({"rows": ROWS, "a.b": {"/": 5}}))
    store.add("wave-1.r2", '"text with {{memory.wave-1.r1}}"')
    return store


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("", {"rows": ROWS, "a.b": {"/": 5}}),
        ("/rows/1/n", 2),
        ("/a.b/~1", 5),
        ("$.rows[0].name", "a|b"),
        ("rows[-1].n", 2),
        ("$['a.b']", {"/": 5}),
    ],
)
def test_paths(store: ResultStore, path: str, value: Any) -> None:
    assert store.value("wave-1.r1", path) == value


@pytest.mark.parametrize("path", ["/none", "/rows/7", "/rows/x", "/rows/0/n/deeper", "x" * 2_000])
def test_a_path_that_leads_nowhere_is_an_error(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        value_at({"rows": ROWS}, path)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("json", '[{"n": 1, "name": "a|b"}, {"n": 2, "more": null}]'),
        ("markdown_table", "| n | name | more |\n| --- | --- | --- |\n| 1 | a\\|b |  |\n| 2 |  |  |"),
        ("csv", "n,name,more\n1,a|b,\n2,,"),
        ("count", "2"),
    ],
)
def test_formats(form: str, text: str) -> None:
    assert render(ROWS, form) == text


@pytest.mark.parametrize("value", [None, True, 3, "text", [], {}, [[1, 2], [3]], {"columns": ["a"], "rows": [[1]]}])
@pytest.mark.parametrize("form", ["json", "text", "markdown_table", "csv", "list", "count"])
def test_every_value_has_every_format(value: Any, form: str) -> None:
    assert isinstance(render(value, form), str)


async def test_arguments_get_values_and_texts(store: ResultStore) -> None:
    given = {"whole": "{{memory.wave-1.r1/rows/0/n}}", "in": ["n = {{ memory.wave-1.r1/rows/0/n }}"], "other": "{{x}}"}
    assert await resolved_arguments(given, store) == {"whole": 1, "in": ["n = 1"], "other": "{{x}}"}
    with pytest.raises(ValueError, match="wave-9"):
        await resolved_arguments({"a": "{{memory.wave-9.r1}}"}, store)


def test_a_reference_in_a_result_is_not_resolved(store: ResultStore) -> None:
    assert resolved_text("{{memory.wave-1.r2}}", Insertions(store, "answer")) == "text with {{memory.wave-1.r1}}"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
async def test_a_streamed_text_is_resolved_whatever_its_pieces(store: ResultStore, size: int) -> None:
    text = "a { b {{ c {{memory.wave-1.r1/rows/0/n}} {{memory.none}} {x} {{memory.wave-1.r1:wrong}} {"
    stream = ReferenceStream(store)
    pieces = [await stream.push(text[start : start + size]) for start in range(0, len(text), size)]
    assert "".join([*pieces, await stream.finish()]) == resolved_text(text, Insertions(store, "answer"))


async def test_a_stream_holds_back_no_more_than_a_reference(store: ResultStore) -> None:
    stream = ReferenceStream(store)
    assert await stream.push("plain ") == "plain "
    assert await stream.push("{{" + "x" * 400) == "{{" + "x" * 400


def test_a_peek_is_bounded(store: ResultStore) -> None:
    store.add("wave-2.r1", json.dumps("x" * 100_000))
    store.add("wave-2.r2", json.dumps(["y" * 50_000] * 3))
    assert len(store.peek("wave-2.r1", length=10**9)["part"]) == MAX_PEEK
    assert len(json.dumps(store.peek("wave-2.r2"))) < 2 * MAX_PEEK
    with pytest.raises(ValueError, match="the keys: wave-1"):
        store.peek("none")


def test_a_table_has_a_limit_of_cells() -> None:
    rows = [{f"column{number}": 1} for number in range(2_000)]
    with pytest.raises(ValueError, match="give a path to a part"):
        render(rows, "markdown_table")


@pytest.mark.parametrize(
    "text", ["{{memory.a/" + " " * 20_000, "{{memory.a" + " " * 20_000, "{{ memory.a:" + "b" * 20_000]
)
def test_what_only_begins_like_a_reference_stays(store: ResultStore, text: str) -> None:
    assert resolved_text(text, Insertions(store, "answer")) == text


@pytest.mark.parametrize("reference", ["{{ memory.wave-1.r1/rows/0/n }}", "{{memory.wave-1.r1/rows/0/n:text }}"])
def test_spaces_in_a_reference_do_not_count(store: ResultStore, reference: str) -> None:
    assert resolved_text(reference, Insertions(store, "answer")) == "1"


@pytest.mark.parametrize("form", ["", ":json"])
async def test_the_references_of_one_call_insert_a_bounded_amount(store: ResultStore, form: str) -> None:
    store.add("wave-2.r1", json.dumps(["x" * (MAX_INSERTED // 3)]))
    reference = f"{{{{memory.wave-2.r1{form}}}}}"
    assert len(json.dumps(await resolved_arguments({"a": reference, "b": [reference]}, store))) > MAX_INSERTED // 2
    with pytest.raises(
        ValueError, match=r"of one call may insert at most 4,194,304 characters together. Refer to parts"
    ):
        await resolved_arguments({"a": reference, "b": [reference, {"c": f"{reference}"}]}, store)
    with pytest.raises(ValueError, match="one call may have at most 1,000 references"):
        await resolved_arguments(["{{memory.wave-1.r1/rows/0/n}}"] * (MAX_REFERENCES + 1), store)


async def test_the_references_of_one_answer_insert_a_bounded_amount(store: ResultStore) -> None:
    store.add("wave-2.r1", json.dumps("x" * (MAX_INSERTED // 3 - 2)))
    stream = ReferenceStream(store)
    pieces = [await stream.push("{{memory.wave-2.r1}} {{memory.wave-1.r1/rows/0/n}}\n") for _ in range(4)]
    assert [len(piece) >= MAX_INSERTED // 3 for piece in pieces] == [True, True, True, False]
    assert pieces[3].startswith("[wave-2.r1 is left out: the references of one answer may insert at most 4,194,304")
    assert pieces[3].endswith("] 1\n")


async def test_a_large_result_is_written_once_outside_of_the_event_loop(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_loop: list[bool] = []

    def recorded(value: Any, form: str) -> str:
        in_loop.append(asyncio._get_running_loop() is not None)
        return render(value, form)

    monkeypatch.setattr(references, "render", recorded)
    store.add("wave-2.r1", json.dumps([{"n": "x" * (MAX_INSERTED // 4)}]))
    table = "{{memory.wave-2.r1:markdown_table}}"

    answer = await ReferenceStream(store).push(table * 9)
    assert (answer.count("x" * 1_000) >= 2_000, answer.count("is left out")) == (True, 6)
    assert await resolved_arguments(f"{table} {table}", store)
    assert in_loop == [False, False]


async def test_after_much_was_refused_no_further_result_is_written(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def recorded(value: Any, form: str) -> str:
        written.append(form)
        return render(value, form)

    monkeypatch.setattr(references, "render", recorded)
    store.add("wave-2.r1", json.dumps(["x" * MAX_INSERTED, *["y" * MAX_INSERTED] * 9]))
    parts = [f"{{{{memory.wave-2.r1/{number}:list}}}}" for number in range(9)]

    answer = await ReferenceStream(store).push("".join(parts * 2))

    assert (answer.count("is left out"), len(written)) == (18, 1)
