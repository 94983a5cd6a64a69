"""`transcribe` on real speech, with Whisper's smallest model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lanemesh import Audio, LanemeshError
from lanemesh.testing import run_node
from lanemesh_orchestrator import Mesh
from lanemesh_services.speech.transcribe import Transcribe

from rigs.audio import INPUTS, question

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

QUESTION = "What is the weather like in London today?"


def test_a_question_is_transcribed_with_its_times() -> None:
    result = run_node(Transcribe, config={"interval": 30}, audio=[Audio("audio/wav", question())], timeout=110)
    assert "".join(result.text) == QUESTION
    (document,) = result.documents
    assert document.metadata["start"] == pytest.approx(0, abs=0.3)
    assert document.metadata["end"] == pytest.approx(2, abs=0.5)
    assert document.metadata["language"] == "en"
    assert [asked.text for asked in result.questions] == [QUESTION]


async def test_a_call_is_transcribed_utterance_by_utterance() -> None:
    pipeline = {
        "components": [
            {"id": "file_1", "provider": "file"},
            {
                "id": "vad_1",
                "provider": "vad",
                "config": {"min_silence": 0.4},
                "input": [{"lane": "audio", "from": "file_1"}],
            },
            {
                "id": "transcribe_1",
                "provider": "audio_transcribe",
                "config": {"profile": "tiny.en", "parameters": {}},
                "input": [{"lane": "audio", "from": "vad_1"}],
            },
            {"id": "response_1", "provider": "response", "input": [{"lane": "documents", "from": "transcribe_1"}]},
        ]
    }
    async with Mesh() as mesh:
        run = mesh.run(pipeline, input=Audio("audio/mpeg", (INPUTS / "call.mp3").read_bytes()))
        documents = (await run.result()).values
    text = " ".join(document.content for document in documents).lower()
    for words in (
        "how can i help you",
        "order two apple cakes",
        "collect them",
        "in the morning",
        "see you on friday",
    ):
        assert words in text
    starts = [document.metadata["start"] for document in documents]
    assert starts == sorted(starts)
    assert starts[-1] > 12, "times are those of the call"
    assert documents[-1].metadata["recording"] >= 4


@pytest.mark.parametrize(
    ("model", "reason", "hint"),
    [
        ("nonexistent", "model-missing", "lanemesh models get whisper-tiny-en"),
        ("base", "model-missing", "use whisper-tiny-en, which is installed by: lanemesh models get whisper-tiny-en"),
        ("smollm2", "model-unusable", "Give `model` the folder of a Whisper model"),
        (str(Path(__file__).parent), "model-unusable", "it has no file model.bin"),
    ],
)
def test_a_model_that_is_missing_or_another_one_is_one_sentence(model: str, reason: str, hint: str) -> None:
    with pytest.raises(LanemeshError) as caught:
        run_node(Transcribe, config={"model": model}, audio=[], timeout=60)
    assert caught.value.fault.reason == reason
    assert hint in caught.value.fault.message


def test_a_model_of_english_only_does_not_translate() -> None:
    config: dict[str, Any] = {"task": "translate", "interval": 30}
    with pytest.raises(LanemeshError, match="it knows English only"):
        run_node(Transcribe, config=config, audio=[Audio("audio/wav", question())], timeout=60)
