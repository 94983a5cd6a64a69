"""`vad` finds the utterances of real speech."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lanemesh import Audio
from lanemesh.testing import NodeResult, run_node
from lanemesh_services.speech.errors import AudioUnusable
from lanemesh_services.speech.vad import Vad

from rigs.audio import container_of, pcm_pieces, question, samples_of, silent_video, tone, wav_of

SPEECH = samples_of(question())
TWICE = np.concatenate([SPEECH, SPEECH])


def found(*audio: Audio, raises: bool = True, **config: Any) -> NodeResult:
    return run_node(Vad, config=config, audio=list(audio), timeout=60, raises=raises)


def times(result: NodeResult) -> list[tuple[float, float]]:
    starts = [mark["time"] for mark in result.marks if mark["event"] == "start"]
    return list(zip(starts, [mark["time"] for mark in result.marks if mark["event"] == "end"], strict=True))


def near(result: NodeResult, *expected: tuple[float, float]) -> bool:
    flat = [time for pair in times(result) for time in pair]
    return flat == pytest.approx([time for pair in expected for time in pair], abs=0.2)


LENGTH = len(SPEECH) / 16_000
ONE = ((0.0, LENGTH - 0.35),)
TWO = (*ONE, (LENGTH, 2 * LENGTH - 0.35))


def test_the_utterances_of_a_file_have_their_times_and_their_samples() -> None:
    result = found(Audio("audio/wav", wav_of(TWICE)))
    assert near(result, *TWO), times(result)
    groups = [
        item.envelope.group for item in result.items["speech"] if item.envelope is not None and item.envelope.group
    ]
    assert len({group.id for group in groups}) == 2
    assert [group.last for group in groups].count(True) == 2
    first = [piece for piece in result.speech if piece.timestamp < LENGTH - 0.3]
    heard = np.frombuffer(b"".join(piece.content for piece in first), dtype="<i2")
    begin = round(first[0].timestamp * 16_000)
    assert (heard == SPEECH[begin : begin + len(heard)]).all()
    assert {(piece.mime_type, piece.rate, piece.channels) for piece in result.speech} == {("audio/pcm", 16_000.0, 1)}


def test_pieces_of_a_microphone_and_a_recording_of_a_browser_give_the_same() -> None:
    assert near(found(*pcm_pieces(TWICE)), *TWO)
    assert near(found(Audio("video/webm", container_of(SPEECH, "webm", "libopus"))), *ONE)


def test_the_piece_before_the_end_of_an_utterance_is_marked_as_a_pause() -> None:
    items = found(Audio("audio/wav", wav_of(TWICE))).items["speech"]
    ends = [
        place for place, item in enumerate(items) if item.envelope and item.envelope.group and item.envelope.group.last
    ]
    assert len(ends) == 2
    for end in ends:
        before = items[end - 1].envelope
        assert before is not None
        assert before.metadata == {"pause": "1"}, "it has all of the utterance, whose end adds nothing"


def test_times_follow_the_clock_of_the_pieces() -> None:
    pieces = pcm_pieces(SPEECH)
    stamped = [
        Audio(piece.mime_type, piece.content, timestamp=100 + place / 10, rate=piece.rate, channels=1)
        for place, piece in enumerate(pieces)
    ]
    assert near(found(*stamped), *((start + 100, end + 100) for start, end in ONE))


def test_each_file_is_a_recording_with_times_of_its_own() -> None:
    result = found(*[Audio("audio/wav", question())] * 2)
    assert near(result, *ONE, *ONE)
    assert [mark["recording"] for mark in result.marks] == [1, 1, 2, 2]
    assert [mark["utterance"] for mark in result.marks] == [1, 1, 2, 2]


def test_silence_and_a_tone_give_nothing_and_that_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    result = found(Audio("audio/wav", wav_of(tone(0) if not len(SPEECH) else np.zeros(32_000, dtype=np.int16))))
    assert (result.speech, result.marks) == ([], [])
    assert "no speech in 2.0 s of audio" in caplog.text
    assert found(Audio("audio/wav", wav_of(tone(2)))).speech == []


def test_a_truncated_file_is_read_as_far_as_it_goes_and_that_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    result = found(Audio("audio/wav", question()[:40_044]))
    assert near(result, (0.0, 1.25))
    assert "recording 1 (audio/wav): it is truncated:" in caplog.text


BAD = [
    (Audio("audio/wav", b""), "it is empty"),
    (Audio("audio/wav", b"no audio " * 50), "it cannot be decoded"),
    (Audio("video/mp4", silent_video()), "it has no audio track, only video"),
    (Audio("audio/wav", uri="https://example.com/a.wav"), "it has the URI https://example.com/a.wav"),
    (Audio("audio/pcm", b"\0\0"), "raw samples with rate 0"),
    (Audio("audio/pcm", b"", rate=16_000, channels=1), "it is empty"),
]


@pytest.mark.parametrize(("audio", "why"), BAD)
def test_what_cannot_be_decoded_is_an_error_that_names_the_recording(audio: Audio, why: str) -> None:
    result = found(Audio("audio/wav", question()), audio, raises=False)
    assert isinstance(result.error, AudioUnusable)
    assert result.error.fault.message.startswith(f"recording 2 ({audio.mime_type}): {why}")


@pytest.mark.parametrize(("audio", "why"), BAD)
def test_it_is_left_out_if_that_is_set(audio: Audio, why: str, caplog: pytest.LogCaptureFixture) -> None:
    result = found(audio, Audio("audio/wav", question()), on_bad_audio="skip")
    assert near(result, *ONE)
    assert f"left out: recording 1 ({audio.mime_type}): {why}" in caplog.text


def test_a_long_utterance_is_split() -> None:
    result = found(Audio("audio/wav", wav_of(TWICE)), max_speech=1.0)
    assert len(times(result)) >= 4
    assert max(end - start for start, end in times(result)) <= 1.2
