"""`audio_tts` with the engine kokoro, and a tiny model of its form."""

from __future__ import annotations

from pathlib import Path

import pytest
from lanemesh import LanemeshError
from lanemesh.testing import run_node
from lanemesh_services.speech.audio_tts import AudioTts

from rigs.onnx_model import write_kokoro

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


def test_kokoro_speaks_with_the_files_that_are_given(tmp_path: Path) -> None:
    model, voices = write_kokoro(tmp_path)
    config = {"engine": "kokoro", "kokoro_voice": "af_sky", "model": str(model), "voices": str(voices), "format": "pcm"}
    (piece,) = run_node(AudioTts, config=config, text=["Good morning."], timeout=60).speech
    assert (piece.rate, piece.channels) == (24_000.0, 1)
    assert 0.2 < len(piece.content) / 2 / 24_000 < 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"voice": "xy_none"}, "the file has no such voice. Its voices: af_heart, af_sky"),
        ({"voices": "/none.bin"}, "/none.bin"),
    ],
)
def test_a_voice_or_a_file_that_is_not_there_is_one_sentence(tmp_path: Path, change: dict[str, str], why: str) -> None:
    model, voices = write_kokoro(tmp_path)
    with pytest.raises(LanemeshError) as caught:
        run_node(
            AudioTts, config={"engine": "kokoro", "model": str(model), "voices": str(voices), **change}, text=["Good."]
        )
    assert caught.value.fault.reason == "voice-unusable"
    assert why in caught.value.fault.message
