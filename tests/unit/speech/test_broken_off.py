"""Speech whose producer failed or was cancelled before its end: what is made of it ends in the same way."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from lanemesh import Audio
from lanemesh_orchestrator import Mesh

from pages import ROOT
from rigs.audio import container_of, pcm_pieces, question, samples_of, tone

NODES = [ROOT / "tests" / "rigs" / name for name in ("audio_nodes.py", "speech_engines.py")]
OUTCOMES = pytest.mark.parametrize("outcome", ["OK", "ERROR", "CANCELLED"])


async def ended(provider: str, outcome: str, pieces: list[Any], *, lane: str, into: str, **config: Any) -> list[Any]:
    """The outcomes of the groups that a node makes of pieces, and its questions."""
    out = [{"lane": "data", "from": "ends_1"}]
    if provider == "transcribe_tones":
        out.append({"lane": "questions", "from": "node_1"})
    source = {"audio": "file", "text": "chat"}[into]
    pipeline = {
        "components": [
            {"id": "source_1", "provider": source},
            {
                "id": "breaks_1",
                "provider": "break_off",
                "config": {"outcome": outcome},
                "input": [{"lane": into, "from": "source_1"}],
            },
            {"id": "node_1", "provider": provider, "config": config, "input": [{"lane": into, "from": "breaks_1"}]},
            {"id": "ends_1", "provider": "how_they_end", "input": [{"lane": lane, "from": "node_1"}]},
            {"id": "response_1", "provider": "response", "input": out},
        ]
    }
    async with Mesh(nodes=NODES) as mesh, asyncio.timeout(60):
        result = await mesh.run(pipeline, inputs=pieces).result()
    assert result.error is None
    return [getattr(value, "text", value) for value in result.values]


@OUTCOMES
async def test_a_converted_recording_ends_as_the_recording_does(outcome: str) -> None:
    assert await ended("audio_convert", outcome, pcm_pieces(tone(2)), lane="audio", into="audio") == [outcome]


@pytest.mark.parametrize("outcome", ["ERROR", "CANCELLED"])
async def test_the_begin_of_a_file_without_a_sample_is_no_error(outcome: str) -> None:
    begin = Audio("audio/webm", container_of(tone(3)[:, 0], "webm", "libopus")[:200])
    assert await ended("audio_convert", outcome, [begin], lane="audio", into="audio") == []


@OUTCOMES
async def test_a_transcribed_recording_is_a_question_only_if_it_is_whole(outcome: str) -> None:
    values = await ended("transcribe_tones", outcome, pcm_pieces(tone(1)), lane="text", into="audio")
    assert sorted(values) == sorted([outcome, *["tone 24"] * (outcome == "OK")])


@OUTCOMES
async def test_the_utterance_that_is_broken_off_ends_as_its_recording_does(outcome: str) -> None:
    speech = samples_of(question())
    pieces = pcm_pieces(np.concatenate([speech, speech[: len(speech) // 2]]))
    assert await ended("vad", outcome, pieces, lane="audio", into="audio") == ["OK", outcome]


@OUTCOMES
async def test_a_spoken_text_ends_as_the_text_does(outcome: str) -> None:
    values = await ended("speak_tones", outcome, ["One. ", "Two."], lane="audio", into="text")
    assert values == [outcome]
