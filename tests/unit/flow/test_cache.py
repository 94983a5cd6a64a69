"""The store of a cache, and the hashes that it is asked by."""

from __future__ import annotations

from typing import Any

import pytest
from lanemesh import Answer, ChatText, Document, Image, Media, Message, Question, ToolCall
from lanemesh_services.flow.store import Draft, Store
from lanemesh_services.flow.values import as_json, content_hash, described, memory_of, text_of


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_happy_results_are_found_until_they_are_too_old() -> None:
    clock = Clock()
    store = Store(10, 1_000, 60, clock)
    store.put(b"a", ["x", "y"], 10)
    assert store.get(b"a") == ("x", "y")
    assert store.get(b"b") is None
    clock.now = 61
    assert store.get(b"a") is None
    assert (len(store), store.size, store.hits, store.misses) == (0, 0, 1, 2)


def test_shutdown_it_is_bounded_in_number_and_size() -> None:
    store = Store(2, 1_000, None)
    for key in (b"a", b"b"):
        store.put(key, [key], 10)
    store.get(b"a")
    store.put(b"c", ["c"], 10)
    assert [store.get(key) is not None for key in (b"a", b"b", b"c")] == [True, False, True]
    store.put(b"d", ["d"], 251)  # more than a quarter
    assert store.get(b"d") is None
    small = Store(100, 100, None)
    for number in range(10):
        small.put(bytes([number]), ["x"], 25)
    assert (len(small), small.size) == (4, 100)
    small.put(bytes([9]), ["y"], 20)
    assert (len(small), small.size) == (4, 95)


def test_equal_contents_have_equal_hashes() -> None:
    assert content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    assert content_hash(Question("a", instructions="b")) == content_hash(Question("a", instructions="b"))
    different = [
        *("a", b"a", 1, 1.0, True, None, ["a"], {"a": None}, Question("a"), Document("a"), Question("", "a")),
        *(Image("image/png", b"a"), Image("image/png", b"b"), [["a"], "b"], [["a", "b"]], ["1"], [1]),
    ]
    assert len({content_hash(value) for value in different}) == len(different)


def test_items_in_json_as_text_and_in_words() -> None:
    image = Image("image/png", b"abc", timestamp=1.5)
    assert as_json(image) == {"mime_type": "image/png", "content": 3, "timestamp": 1.5}
    assert as_json([image], whole=True)[0]["content_base64"] == "YWJj"
    assert text_of({"a": [1]}) == '{"a": [1]}'
    assert (text_of(image), text_of(Question("q"))) == ("", "q")
    assert described(Document("x", source="a.pdf", chunk_index=3)) == "the document of a.pdf, chunk 3"
    assert described(image) == "the image (image/png, 3 bytes at 1.5 s)"
    assert described("x" * 100) == f'the text "{"x" * 60}..."'
    assert described([1]) == 'the data "[1]"'


def test_shutdown_a_result_that_grows_too_large_is_not_held() -> None:
    store = Store(entries=10, size=400, seconds=None)
    for values, size in (([b"x" * 101], 101), ([1, 2, 3, 4], 1)):
        draft = Draft(store, most=3)
        for value in values:
            draft.add(value, size)
        assert draft.is_too_large
        assert not draft.values
        draft.keep(b"key")
    assert not len(store)

    draft = Draft(store, most=3)
    draft.add("a", 100)
    draft.keep(b"key")
    assert store.get(b"key") == ("a",)
    assert store.size == 100


@pytest.mark.parametrize(
    "value",
    [
        "x" * 100_000,
        {"a": [{"b": "x" * 100_000}]},
        {"x" * 100_000: 1},
        ChatText("x" * 100_000),
        ToolCall("1", "find", "x" * 100_000),
        Media("application/pdf", bytes(100_000)),
        Document("", file=Media("application/pdf", bytes(100_000))),
        Document("", source="x" * 100_000),
        Document("", metadata={"a": ["x" * 100_000]}),
        Document("", embedding=(0.5,) * 12_500),
        Answer(data={"a": "x" * 100_000}),
        Answer(tool_calls=(ToolCall("1", "find", "x" * 100_000),)),
        Question("", images=(Image("image/png", bytes(100_000)),)),
        Question("", documents=(Document("x" * 100_000),)),
        Question("", history=(Message("user", "x" * 100_000),)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_shutdown_all_that_an_item_holds_counts(value: Any) -> None:
    assert 100_000 <= memory_of(value) < 450_000
