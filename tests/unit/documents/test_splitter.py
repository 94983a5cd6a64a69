"""Chunks of texts and documents, which leave while the text still arrives."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lanemesh import Document, Envelope, Group, In, Inputs, LanemeshError, Media, Node, Out, Outputs
from lanemesh.items import GroupOutcome
from lanemesh.node.context import Context
from lanemesh.testing import run_node, run_node_async
from lanemesh_orchestrator import Mesh
from lanemesh_services.documents.splitter import Splitter
from lanemesh_services.documents.splitting import separators
from lanemesh_services.documents.splitting.chunker import LOOK_AHEAD, Chunker, Rules
from lanemesh_services.documents.splitting.measures import Characters, Measure, ModelTokens, Words
from pydantic import ValidationError

PROSE = separators.compiled(separators.PROSE)


def chunks(text: str, *, pieces: int = 10**9, rules: Rules) -> list[str]:
    """The chunks of a text that arrives in pieces of this length."""
    chunker = Chunker(rules)
    made = [chunk for start in range(0, len(text), pieces) for chunk in chunker.push(text[start : start + pieces])]
    return [*made, *chunker.finish()]


def split(text: str, **config: Any) -> list[str]:
    """The contents of the chunks of a document."""
    return [chunk.content for chunk in run_node(Splitter, documents=Document(text), config=config).chunks]


def test_happy_it_cuts_at_the_strongest_place_within_the_size() -> None:
    text = "First paragraph, with words.\n\nSecond one. It has two sentences.\n\nThird."
    assert split(text, size=45, overlap=0) == [
        "First paragraph, with words.",
        "Second one. It has two sentences.\n\nThird.",
    ]
    assert split(text, size=30, overlap=0) == [
        "First paragraph, with words.",
        "Second one.",
        "It has two sentences.\n\nThird.",
    ]
    assert split("x" * 25, size=10, overlap=0) == ["x" * 10, "x" * 10, "x" * 5]
    assert split("", size=10, overlap=0) == split(" \n ", size=10, overlap=0) == []


def test_happy_chunks_overlap_by_whole_words() -> None:
    assert split("one two three four five six", size=14, overlap=6) == ["one two three", "three four", "four five six"]


def test_happy_chunks_have_source_metadata_and_place_over_the_pages_of_a_source() -> None:
    pages = [
        Document("a b", "d", (0.5,), 0.5, "x.pdf", 0, {"page": 1}),
        Document("c", source="x.pdf", chunk_index=1, metadata={"page": 2}),
        Document("d", source="y.pdf"),
        Document("e", source="x.pdf"),
    ]
    made = run_node(Splitter, documents=pages, config={"size": 1, "overlap": 0}).chunks

    assert [(chunk.source, chunk.chunk_index, chunk.content) for chunk in made] == [
        *(("x.pdf", 0, "a"), ("x.pdf", 1, "b"), ("x.pdf", 2, "c"), ("y.pdf", 0, "d")),
        ("x.pdf", 0, "e"),  # a new version of the file
    ]
    assert (made[0].id, made[0].embedding, made[0].score, made[0].metadata) == ("d#0", (), None, {"page": 1})


TEXTS = st.lists(
    st.sampled_from(["a", "word ", "Sentence. ", "\n", "\n\n", "Dr. X ", "é", "。", "# H\n", "; ", "港口", "long" * 5]),
    max_size=60,
).map("".join)
MEASURES: list[Measure] = [Characters(), Words()]


@given(TEXTS, st.integers(1, 30), st.integers(1, 20), st.integers(0, 10), st.sampled_from(MEASURES))
@settings(max_examples=300, deadline=None)
def test_happy_the_chunks_are_the_same_for_every_division_into_pieces(
    text: str, pieces: int, size: int, overlap: int, measure: Measure
) -> None:
    rules = Rules(size, min(overlap, size - 1), measure, PROSE)
    made = chunks(text, rules=rules)

    assert chunks(text, pieces=pieces, rules=rules) == made
    assert "".join("".join(chunks(text, rules=Rules(size, 0, measure, PROSE))).split()) == "".join(text.split())
    for chunk in made:
        units = chunk if isinstance(measure, Characters) else re.findall(r"[港口]|[^\W港口]{1,16}|[^\w\s]", chunk)
        assert len(units) <= size


def test_happy_a_chunk_leaves_before_its_text_has_ended() -> None:
    chunker = Chunker(Rules(20, 0, Characters(), PROSE))
    assert list(chunker.push("A sentence. And another ")) == []
    assert list(chunker.push("one, which is longer than that.")) == ["A sentence."]
    assert list(chunker.finish()) == ["And another one,", "which is longer than", "that."]


def test_happy_sizes_in_words_and_in_the_tokens_of_a_model(tmp_path: Any) -> None:
    assert split("One, two three. Four!", mode="tokens", size=4, overlap=0) == ["One, two", "three. Four!"]
    file = tokenizer(tmp_path / "tokenizer.json")
    made = split("aa bb aa bb aa bb", mode="tokens", size=2, overlap=0, tokenizer=str(file))
    assert made == ["aa bb", "aa bb", "aa bb"]
    assert split("aa bb aa bb", mode="tokens", size=2, overlap=1, tokenizer=str(tmp_path))[0] == "aa bb"
    rules = Rules(3, 0, ModelTokens(file), PROSE)
    text = "aa bb. aa aa\n\nbb aa bb bb aa " * 3
    assert chunks(text, pieces=2, rules=rules) == chunks(text, rules=rules)


@pytest.mark.parametrize(
    ("unit", "characters"),
    [("港", 1), ("\U00020000", 1), ("み", 1), ("ท", 1), ("ລ", 1), ("မ", 1), ("ក", 1), ("x", 16), ("한", 16)],
)
def test_happy_a_text_without_spaces_is_counted_by_its_letters(unit: str, characters: int) -> None:
    made = split(unit * 1_000, mode="tokens", size=8, overlap=2)
    assert {len(chunk) for chunk in made[:-1]} == {8 * characters}
    assert split(f"an {unit * 20}, {unit}", mode="tokens", size=40, overlap=0) == [f"an {unit * 20}, {unit}"]


class Counted(Words):
    """Counts the characters that it looks at."""

    def __init__(self) -> None:
        self.characters = 0

    def limit(self, text: str, size: int, *, final: bool) -> int | None:
        """The end of the first `size` words and signs."""
        self.characters += len(text)
        return super().limit(text, size, final=final)


def test_shutdown_what_is_measured_of_a_text_in_small_pieces_is_a_small_multiple_of_it() -> None:
    text = "word, and more. " * 1_000
    measured = []
    for size in (100, 1_000, 10_000):
        measure = Counted()
        assert chunks(text, pieces=4, rules=Rules(size, size // 10, measure, PROSE))
        measured.append(measure.characters / len(text))
    assert max(measured) < 12


def test_happy_a_measured_chunk_leaves_before_its_text_is_an_eighth_longer() -> None:
    chunker = Chunker(Rules(100, 0, Words(), PROSE))
    arrived = next(number for number in range(1, 1_000) if list(chunker.push("word ")))
    assert 100 < arrived <= 100 * 9 / 8 + LOOK_AHEAD / 5 + 1


async def test_shutdown_tokens_are_counted_in_worker_threads(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[bool] = []
    offsets = ModelTokens._offsets

    def seen(self: ModelTokens, text: str) -> list[tuple[int, int]]:
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            counted.append(False)
            return offsets(self, text)
        counted.append(True)
        return offsets(self, text)

    monkeypatch.setattr(ModelTokens, "_offsets", seen)
    config = {"mode": "tokens", "size": 8, "overlap": 2, "tokenizer": str(tokenizer(tmp_path / "tokenizer.json"))}
    long = {**PIPELINE["components"][2], "config": config}
    pipeline = {**PIPELINE, "components": [*PIPELINE["components"][:2], long, PIPELINE["components"][3]]}
    async with Mesh(nodes=[Path(__file__)]) as mesh, mesh.run(pipeline, input="aa bb " * 20) as run:
        assert [output.value async for output in run.outputs()]
    assert (await run_node_async(Splitter, documents=Document("aa bb " * 20), config=config)).chunks
    assert counted
    assert all(counted)


def test_shutdown_other_threads_run_while_tokens_are_counted(tmp_path: Any) -> None:
    measure = ModelTokens(tokenizer(tmp_path / "tokenizer.json"))
    go, has_run = threading.Event(), threading.Event()

    def run() -> None:
        go.wait()
        has_run.set()

    other = threading.Thread(target=run)
    interval = sys.getswitchinterval()
    other.start()
    sys.setswitchinterval(1_000)  # another thread runs only where this one lets it
    try:
        go.set()
        measure.limit("aa bb " * 500_000, 200_000, final=True)
        ran = has_run.is_set()
    finally:
        sys.setswitchinterval(interval)
        other.join()
    assert ran


def tokenizer(file: Any) -> Any:
    """A tokenizer of words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({"aa": 0, "bb": 1, "[UNK]": 2}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(file))
    return file


def test_error_a_tokenizer_that_cannot_be_used(tmp_path: Any) -> None:
    (tmp_path / "x.json").write_text("{}")
    for name in ("x.json", "none.json"):
        with pytest.raises(LanemeshError, match=r"config\.tokenizer") as raised:
            split("a", mode="tokens", tokenizer=str(tmp_path / name))
        assert raised.value.fault.reason == "bad-tokenizer"


def test_happy_sentences_are_kept_whole() -> None:
    text = 'Dr. Smith met A. Jones at 5 p.m. sharp. They talked! Then? "Yes." It ended.'
    assert split(text, mode="sentences", size=42, overlap=0) == [
        "Dr. Smith met A. Jones at 5 p.m. sharp.",
        'They talked! Then? "Yes." It ended.',
    ]


def test_happy_markdown_is_cut_at_headings_which_the_chunks_name() -> None:
    text = (
        "# Title\nIntro text here.\n\n## First\nAbout one thing.\n\n```\n# no heading\n```\n## Second\nAbout another."
    )
    made = run_node(Splitter, documents=Document(text), config={"mode": "markdown", "size": 50, "overlap": 0}).chunks
    assert [(chunk.content.split("\n")[0], list(chunk.metadata["headings"])) for chunk in made] == [
        ("# Title", ["Title"]),
        ("## First", ["Title", "First"]),
        ("## Second", ["Title", "Second"]),
    ]


def test_happy_code_is_cut_at_definitions() -> None:
    code = "import a\n\ndef one():\n    return 1\n\ndef two():\n    return 2\n"
    assert split(code, mode="code", size=35, overlap=0) == [
        "import a\n\ndef one():\n    return 1",
        "def two():\n    return 2",
    ]


def test_happy_texts_have_chunks_with_ids_of_their_content() -> None:
    made = run_node(Splitter, text=["one two", "three"], config={"size": 4, "overlap": 0}).chunks
    assert [(chunk.content, chunk.chunk_index) for chunk in made] == [("one", 0), ("two", 1), ("thre", 0), ("e", 1)]
    assert len({chunk.id for chunk in made}) == 4
    assert made == run_node(Splitter, text=["one two", "three"], config={"size": 4, "overlap": 0}).chunks


def test_happy_the_config_of_rocketride_is_understood() -> None:
    form = {"mode": "strlen", "splitter": "RecursiveCharacterTextSplitter", "strlen": 512}
    config = Splitter.Config.model_validate(form)
    assert (config.way, config.chunk_size, config.chunk_overlap) == ("recursive", 512, 51)
    assert Splitter.Config.model_validate({"mode": "strlen", "splitter": "MarkdownTextSplitter"}).way == "markdown"
    assert Splitter.aliases == ("preprocessor_langchain",)


@pytest.mark.parametrize("splitter", Splitter.Config.model_json_schema()["properties"]["splitter"]["enum"])
def test_happy_sizes_of_the_mode_strlen_are_in_characters(splitter: str, tmp_path: Any) -> None:
    config = {"mode": "strlen", "strlen": 20, "splitter": splitter, "tokenizer": str(tmp_path / "none.json")}
    made = split("aa bb. " * 40, **config)
    assert 10 < max(map(len, made)) <= 20


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"size": 10, "overlap": 10}, "less than the size"),
        ({"mode": "code", "language": "klingon"}, "must be one of"),
        ({"mode": "strlen", "splitter": "HTMLHeaderTextSplitter"}, "RecursiveCharacterTextSplitter"),
    ],
)
def test_error_settings_that_contradict_each_other(config: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Splitter.Config.model_validate(config)


def test_error_a_file_whose_text_was_not_read_is_refused() -> None:
    with pytest.raises(LanemeshError, match="Connect a parse before"):
        run_node(Splitter, documents=Document("", source="a.pdf", file=Media("application/pdf", b"%PDF")))


class Talk(Node):
    """Sends the text of a long cue in pieces, then two texts, which are interleaved; one breaks off, two have no end."""

    cue: In[str]
    text: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Sends them."""
        cue = await inputs.next("cue")
        for number in range(0, len(cue) - 2, 3):
            await outputs.emit("text", cue[number : number + 3], Envelope(group=Group("long", number)))
        for group, text, last, outcome in (
            ("g", "one tw", False, GroupOutcome.OK),
            ("h", "lost", False, GroupOutcome.OK),
            ("i", "open", False, GroupOutcome.OK),
            ("g", "o", True, GroupOutcome.OK),
            ("h", "", True, GroupOutcome.ERROR),
        ):
            await outputs.emit("text", text, Envelope(group=Group(group, 0, last, outcome)))


PIPELINE: dict[str, Any] = {
    "version": 1,
    "source": "chat_1",
    "components": [
        {"id": "chat_1", "provider": "chat"},
        {"id": "talk_1", "provider": "talk", "input": [{"lane": "text", "from": "chat_1"}]},
        {
            "id": "splitter_1",
            "provider": "preprocessor_langchain",
            "config": {"size": 4, "overlap": 0},
            "input": [{"lane": "text", "from": "talk_1"}],
        },
        {"id": "out", "provider": "response", "input": [{"lane": "documents", "from": "splitter_1"}]},
    ],
}


async def test_shutdown_interleaved_texts_are_kept_apart_and_one_that_breaks_off_is_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        async with Mesh(nodes=[Path(__file__)]) as mesh, mesh.run(PIPELINE, input="go") as run:
            chunks = [output.value async for output in run.outputs()]
    assert [(chunk.content, chunk.chunk_index) for chunk in chunks] == [("one", 0), ("two", 1), ("open", 0)]
    assert "a text broke off; 4 characters of it are dropped" in caplog.text
