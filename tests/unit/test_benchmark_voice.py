"""The benchmark of spoken turns: what it sends, and how it judges."""

from __future__ import annotations

import pytest

from bundled.voice import PIECE, TARGET_MS, Turn, judge, pieces


def test_the_question_ends_before_its_silence() -> None:
    cut, last = pieces()
    assert last * PIECE == pytest.approx(1.9, abs=0.3)
    assert len(cut) - last > 10
    assert {(piece.mime_type, piece.rate, piece.channels) for piece in cut} == {("audio/pcm", 16_000, 1)}


@pytest.mark.parametrize(("values", "met"), [((100, 200, 900), True), ((100, 260, 900), False)])
def test_the_median_of_the_turns_is_judged(values: tuple[float, ...], met: bool) -> None:
    (verdict,) = judge([Turn(after_text=value, after_speech=0) for value in values])
    assert (verdict.value, verdict.bound, verdict.met) == (values[1], TARGET_MS, met)
