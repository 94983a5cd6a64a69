"""Where speech begins and ends, by the probabilities of its chunks."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from lanemesh_services.speech.speech_gate import GateSettings, SpeechBegan, SpeechEnded, SpeechGate, SpeechWent

SETTINGS = GateSettings(threshold=0.5, least_speech=2, least_silence=4, padding=1, most_speech=20)


def pushed(probabilities: list[float], settings: GateSettings = SETTINGS) -> list[tuple[int, int, list[int]]]:
    """The utterances: the chunk at which each begins, the one before which it ends, and its chunks."""
    gate = SpeechGate(settings)
    events = [event for chunk, one in enumerate(probabilities) for event in gate.push(one, chunk)] + gate.finish()
    utterances: list[tuple[int, int, list[int]]] = []
    for event in events:
        match event:
            case SpeechBegan(chunk):
                utterances.append((chunk, -1, []))
            case SpeechWent(chunk, samples, _):
                assert samples == chunk
                utterances[-1][2].append(chunk)
            case SpeechEnded(chunk):
                utterances[-1] = (utterances[-1][0], chunk, utterances[-1][2])
    return utterances


def test_an_utterance_has_its_speech_and_the_padding_around_it() -> None:
    assert pushed([0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]) == [(2, 7, [2, 3, 4, 5, 6])]


def test_a_click_is_no_speech_and_a_short_pause_no_end() -> None:
    assert pushed([0, 1, 0, 0, 1, 0]) == []
    assert pushed([1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0]) == [(0, 8, [0, 1, 2, 3, 4, 5, 6, 7])]


def test_speech_that_gets_quieter_goes_on() -> None:
    assert pushed([1, 1, 0.4, 0.4, 0.4, 0.4, 0.4]) == [(0, 7, list(range(7)))]


def test_speech_at_the_end_is_not_lost() -> None:
    assert pushed([0, 0, 1]) == [(0, 3, [0, 1, 2])]
    assert pushed([0, 0, 1, 1, 0, 0]) == [(1, 5, [1, 2, 3, 4])]


def test_a_long_utterance_is_split_without_a_gap() -> None:
    utterances = pushed([1.0] * 50)
    assert [begin for begin, _, _ in utterances] == [0, 20, 40]
    assert [chunk for _, _, chunks in utterances for chunk in chunks] == list(range(50))


def test_a_pause_is_announced_before_it_is_known_to_be_the_end() -> None:
    gate = SpeechGate(replace(SETTINGS, padding=2))
    events = [event for one in [1, 1, 1, 0, 0] for event in gate.push(one, None)]
    assert isinstance(events[-1], SpeechWent)
    assert events[-1].pauses
    assert gate.speaking


@given(st.lists(st.floats(0, 1), max_size=120))
def test_chunks_keep_their_order_and_come_once(probabilities: list[float]) -> None:
    utterances = pushed(probabilities)
    chunks = [chunk for _, _, chunks in utterances for chunk in chunks]
    assert chunks == sorted(set(chunks))
    for begin, end, inside in utterances:
        assert inside == list(range(begin, end))
        assert len(inside) <= SETTINGS.most_speech + SETTINGS.padding + SETTINGS.least_speech
