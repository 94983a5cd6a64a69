"""How `transcribe` follows recordings: windows, partial texts, ends. What is heard are tones."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from lanemesh import Audio, Video
from lanemesh.testing import NodeResult, run_node
from lanemesh_orchestrator import Mesh
from lanemesh_services.speech.errors import AudioUnusable
from lanemesh_services.speech.transcription import WINDOW

from pages import ROOT
from rigs.audio import container_of, pcm_pieces, silent_video, tone, wav_of
from rigs.speech_engines import ToneHearer, TranscribeTones


@pytest.fixture
def hearer(monkeypatch: pytest.MonkeyPatch) -> ToneHearer:
    hearer = ToneHearer()
    monkeypatch.setattr(TranscribeTones, "hearer", hearer, raising=False)
    return hearer


def heard(*audio: Audio, raises: bool = True, **config: Any) -> NodeResult:
    return run_node(TranscribeTones, config=config, audio=list(audio), timeout=60, raises=raises)


def silence(seconds: float) -> Any:
    return np.zeros((round(seconds * 16_000), 1), dtype="<i2")


@pytest.mark.usefixtures("hearer")
def test_a_recording_gives_texts_documents_and_a_question() -> None:
    result = heard(Audio("audio/wav", wav_of(np.concatenate([tone(1), silence(1), tone(1)]))))
    assert result.text == ["tone 24", " tone 24"]
    assert [question.text for question in result.questions] == ["tone 24 tone 24"]
    groups = [item.envelope.group for item in result.items["text"] if item.envelope and item.envelope.group]
    assert len({group.id for group in groups}) == 1
    assert [group.last for group in groups] == [False, False, True]
    first, second = result.documents
    assert (first.content, first.chunk_index, first.source) == ("tone 24", 0, "recording 1 (audio/wav)")
    assert first.metadata == {"start": 0.0, "end": 1.0, "language": "en", "recording": 1}
    assert (second.metadata["start"], second.chunk_index) == (2.0, 1)


def test_a_long_recording_is_heard_window_by_window(hearer: ToneHearer) -> None:
    minutes = np.concatenate([tone(7), silence(3)] * 12)
    result = heard(Audio("audio/wav", wav_of(minutes)), interval=30)
    assert max(hearer.lengths) <= WINDOW
    assert len(result.text) == 84
    starts = [document.metadata["start"] for document in result.documents]
    assert starts == [float(second) for second in range(120) if second % 10 < 7]


def test_a_long_silence_is_dropped_and_what_follows_has_its_time(hearer: ToneHearer) -> None:
    result = heard(*pcm_pieces(np.concatenate([silence(100), tone(2)])), interval=30)
    assert [document.metadata["start"] for document in result.documents] == [100.0, 101.0]
    assert max(hearer.lengths) <= WINDOW


@pytest.mark.usefixtures("hearer")
def test_times_follow_the_clock_of_the_pieces() -> None:
    result = heard(*pcm_pieces(tone(1), size=16_000, timestamp=40.0))
    assert [document.metadata["start"] for document in result.documents] == [40.0]


def test_partial_texts_come_while_the_audio_arrives(hearer: ToneHearer) -> None:
    result = heard(*pcm_pieces(tone(4)), interval=2)
    assert [partial["text"] for partial in result.partials] == ["tone 24 tone 24", "tone 24 tone 24 tone 24 tone 24"]
    assert result.partials[-1] == {"text": "tone 24 tone 24 tone 24 tone 24", "start": 0.0, "end": 4.0, "recording": 1}
    assert hearer.lengths == [32_000, 64_000], "the text of the end is that of the last partial text"


def turn(**config: Any) -> dict[str, Any]:
    """A pipeline whose speech pauses after each piece."""
    return {
        "components": [
            {"id": "file_1", "provider": "file"},
            {"id": "pauses_1", "provider": "mark_pauses", "input": [{"lane": "audio", "from": "file_1"}]},
            {
                "id": "transcribe_1",
                "provider": "transcribe_tones",
                "config": {"interval": 30, **config},
                "input": [{"lane": "audio", "from": "pauses_1"}],
            },
            {
                "id": "response_1",
                "provider": "response",
                "input": [{"lane": "data", "from": "transcribe_1"}, {"lane": "text", "from": "transcribe_1"}],
            },
        ]
    }


@pytest.mark.parametrize("eager", [True, False])
async def test_in_a_pause_the_text_is_made_before_it_is_known_that_the_utterance_has_ended(eager: bool) -> None:
    (piece,) = pcm_pieces(tone(1), size=16_000)
    nodes = [ROOT / "tests" / "rigs" / name for name in ("audio_nodes.py", "speech_engines.py")]
    async with Mesh(nodes=nodes) as mesh, asyncio.timeout(60), mesh.run(turn(eager=eager), open_input=True) as run:
        await run.push(piece)
        values = run.values()
        if eager:
            assert (await anext(values))["text"] == "tone 24", "the input goes on"
        await run.end_input()
        assert [value async for value in values] == ["tone 24"]


async def test_a_file_is_not_transcribed_in_its_pauses() -> None:
    nodes = [ROOT / "tests" / "rigs" / name for name in ("audio_nodes.py", "speech_engines.py")]
    async with Mesh(nodes=nodes) as mesh:
        run = mesh.run(turn(), inputs=[*pcm_pieces(tone(8), size=8 * 16_000), *pcm_pieces(tone(1), size=16_000)])
        assert list((await run.result()).values) == ["tone 24", *[" tone 24"] * 8]


@pytest.mark.usefixtures("hearer")
def test_silence_gives_nothing_and_that_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    result = heard(Audio("audio/wav", wav_of(silence(2))))
    assert [result.text, result.documents, result.questions, result.partials] == [[], [], [], []]
    assert "recording 1 (audio/wav): no speech in 2.0 s of audio" in caplog.text


@pytest.mark.usefixtures("hearer")
def test_a_truncated_file_is_heard_as_far_as_it_goes(caplog: pytest.LogCaptureFixture) -> None:
    result = heard(Audio("audio/wav", wav_of(tone(3))[:70_000]))
    assert result.text == ["tone 24", " tone 24"]
    assert "it is truncated: 26,044 bytes of its samples are missing; it has 2.2 s" in caplog.text


@pytest.mark.usefixtures("hearer")
def test_the_sound_of_a_video_is_heard_and_one_without_sound_is_an_error() -> None:
    sound = Video("video/mp4", container_of(tone(3)[:, 0], "mp4", "aac"))
    assert run_node(TranscribeTones, video=[sound], timeout=60).text[0].startswith("tone")
    with pytest.raises(AudioUnusable, match=r"recording 1 \(video/mp4\): it has no audio track"):
        run_node(TranscribeTones, video=[Video("video/mp4", silent_video())], timeout=60)


@pytest.mark.usefixtures("hearer")
def test_bad_audio_between_good_is_left_out_if_that_is_set(caplog: pytest.LogCaptureFixture) -> None:
    good = Audio("audio/wav", wav_of(tone(1)))
    result = heard(good, Audio("audio/wav", b"no audio"), good, on_bad_audio="skip")
    assert [document.metadata["recording"] for document in result.documents] == [1, 3]
    assert "left out: recording 2 (audio/wav): it cannot be decoded" in caplog.text
