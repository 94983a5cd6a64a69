"""Stop texts and characters across the borders of tokens."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lanemesh_services.llm.text import Detokenizer, StopScanner


def scan(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    scanner = StopScanner(stops)
    said = "".join(scanner.push(piece) for piece in pieces)
    return said + scanner.finish(), scanner.stopped


@pytest.mark.parametrize(
    ("pieces", "stops", "said"),
    [
        (["one", " two"], [], "one two"),
        (["one", " END", " two"], ["END"], "one "),
        (["one E", "N", "D two"], ["END"], "one "),
        (["one EN"], ["END"], "one EN"),
        (["aab"], ["ab"], "a"),
        (["b a", "c"], ["c", "a"], "b "),
    ],
)
def test_happy(pieces: list[str], stops: list[str], said: str) -> None:
    assert scan(pieces, stops)[0] == said


@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=3), max_size=3), st.data())
def test_however_a_text_is_cut_it_ends_at_the_first_stop(text: str, stops: list[str], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    ends = [place + len(stop) for stop in stops if (place := text.find(stop)) >= 0]

    said, stopped = scan(pieces, stops)

    assert stopped == bool(ends)
    assert text.startswith(said)
    assert said == text if not stopped else not any(stop in said for stop in stops)


def test_streaming_holds_back_only_what_may_be_a_stop() -> None:
    scanner = StopScanner(["END"])

    assert [scanner.push(piece) for piece in ("word ", "E", "x", "EN")] == ["word ", "", "Ex", ""]


def test_no_character_is_cut_in_two() -> None:
    tokens = list("a\u00e4\U0001f30d!".encode())
    detokenizer = Detokenizer(lambda part: bytes(part).decode("utf-8", "replace"))

    pieces = [detokenizer.push(tokens[:count]) for count in range(1, len(tokens) + 1)]

    assert [piece for piece in pieces if piece] == ["a", "\u00e4", "\U0001f30d", "!"]
    assert detokenizer.finish(tokens) == ""


def test_an_incomplete_character_is_emitted_at_the_end() -> None:
    tokens = list("ok\U0001f30d".encode())[:-1]
    detokenizer = Detokenizer(lambda part: bytes(part).decode("utf-8", "replace"))

    assert detokenizer.push(tokens[:2]) == "ok"
    assert detokenizer.push(tokens) == ""
    assert detokenizer.finish(tokens) == "\ufffd"


@given(st.binary(max_size=40))
def test_any_bytes_come_out_as_decoding_them_at_once_with_at_most_three_held_back(data: bytes) -> None:
    tokens = list(data)
    detokenizer = Detokenizer(lambda part: bytes(part).decode("utf-8", "replace"))
    text = ""

    for count in range(1, len(tokens) + 1):
        text += detokenizer.push(tokens[:count])
        assert len(data[:count].decode("utf-8", "replace")) - len(text) <= 3
    text += detokenizer.finish(tokens)

    assert text == data.decode("utf-8", "replace")


def test_a_long_run_of_bad_bytes_flows_and_costs_the_same_for_each() -> None:
    tokens = [0xFF] * 500
    decoded: list[int] = []

    def decode(part: Sequence[int]) -> str:
        decoded.append(len(part))
        return bytes(part).decode("utf-8", "replace")

    detokenizer = Detokenizer(decode)
    lengths = [len(detokenizer.push(tokens[:count])) for count in range(1, len(tokens) + 1)]

    assert sum(lengths) == len(tokens) - 3
    assert sum(decoded) < 40 * len(tokens)


def test_a_decoder_that_spoils_whole_characters_beside_a_cut_one_is_waited_for() -> None:
    def decode(part: Sequence[int]) -> str:  # as that of byte-fallback vocabularies
        try:
            return bytes(part).decode()
        except UnicodeDecodeError:
            return "\ufffd" * len(part)

    tokens = list("\u4e2d\u56fd\u8bdd".encode())
    detokenizer = Detokenizer(decode)

    pieces = [detokenizer.push(tokens[:count]) for count in range(1, len(tokens) + 1)]

    assert [piece for piece in pieces if piece] == ["\u4e2d", "\u56fd", "\u8bdd"]
