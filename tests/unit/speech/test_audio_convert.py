"""`audio_convert` converts files, pieces of files and raw samples to the pieces of one file each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lanemesh import Audio, Video
from lanemesh.testing import NodeResult, run_node
from lanemesh_orchestrator import Mesh
from lanemesh_services.speech.audio_convert import AudioConvert

from pages import ROOT
from rigs.audio import container_of, pcm_pieces, seconds_of, tone, wav_of


def converted(*audio: Audio, **config: Any) -> NodeResult:
    return run_node(AudioConvert, config=config, audio=list(audio), timeout=60)


def whole(result: NodeResult) -> bytes:
    return b"".join(piece.content for piece in result.converted)


@pytest.mark.parametrize(("form", "mime_type"), [("wav", "audio/wav"), ("mp3", "audio/mpeg"), ("opus", "audio/ogg")])
def test_a_file_becomes_another_one(form: str, mime_type: str) -> None:
    result = converted(Audio("audio/wav", wav_of(tone(3, 44_100, 2), 44_100)), format=form, rate=24_000, channels=1)
    assert seconds_of(whole(result)) == pytest.approx(3, abs=0.15)
    assert {(piece.mime_type, piece.rate, piece.channels) for piece in result.converted} == {(mime_type, 24_000.0, 1)}
    assert [piece.timestamp for piece in result.converted] == sorted(piece.timestamp for piece in result.converted)
    last = result.items["converted"][-1].envelope
    assert last is not None
    assert last.group is not None
    assert last.group.last


def test_a_wav_file_in_one_piece_has_its_length_in_its_head() -> None:
    samples = tone(2)
    result = converted(Audio("audio/wav", wav_of(samples)), format="wav", piece=60)
    assert whole(result) == wav_of(samples)


def test_raw_samples_stream_through_with_the_state_of_the_filter() -> None:
    pieces = converted(*pcm_pieces(tone(4, 44_100), 44_100, 441), format="pcm", rate=16_000, piece=0.5)
    at_once = converted(*pcm_pieces(tone(4, 44_100), 44_100, 10_000_000), format="pcm", rate=16_000)
    assert len(pieces.converted) >= 7
    assert whole(pieces) == whole(at_once)
    assert len(whole(at_once)) == pytest.approx(2 * 64_000, abs=64)


def test_the_sound_of_a_video_is_converted() -> None:
    content = container_of(tone(2)[:, 0], "mp4", "aac")
    result = run_node(AudioConvert, config={"format": "mp3"}, video=[Video("video/mp4", content)], timeout=60)
    assert seconds_of(whole(result)) == pytest.approx(2, abs=0.2)


def test_raw_samples_of_another_form_are_another_recording() -> None:
    result = converted(*pcm_pieces(tone(1)), *pcm_pieces(tone(1, 8_000), 8_000), format="pcm")
    groups = {item.envelope.group.id for item in result.items["converted"] if item.envelope and item.envelope.group}
    assert len(groups) == 2


def test_the_same_input_gives_the_same_output() -> None:
    given = Audio("audio/wav", wav_of(tone(2)))
    assert whole(converted(given, format="mp3")) == whole(converted(given, format="mp3"))


PIPELINE = {
    "components": [
        {"id": "file_1", "provider": "file"},
        {"id": "cut_1", "provider": "cut_audio", "input": [{"lane": "audio", "from": "file_1"}]},
        {
            "id": "convert_1",
            "provider": "audio_convert",
            "config": {"format": "pcm", "piece": 0.5},
            "input": [{"lane": "audio", "from": "cut_1"}],
        },
        {"id": "response_1", "provider": "response", "input": [{"lane": "audio", "from": "convert_1"}]},
    ]
}


@pytest.mark.parametrize(
    "content",
    [container_of(tone(3)[:, 0], "webm", "libopus"), wav_of(tone(3)), wav_of(tone(3))[:50_000]],
    ids=["webm", "wav", "truncated"],
)
async def test_a_file_that_arrives_in_pieces_is_one_recording(content: bytes) -> None:
    async with Mesh(nodes=[ROOT / "tests" / "rigs" / "audio_nodes.py"]) as mesh, asyncio.timeout(60):
        result = await mesh.run(PIPELINE, input=Audio("audio/webm", content)).result()
    pieces = result.values
    assert len(pieces) >= 3
    assert sum(len(piece.content) for piece in pieces) / 2 / pieces[0].rate == pytest.approx(
        3 if len(content) > 60_000 or content[:4] != b"RIFF" else 1.56, abs=0.05
    )
