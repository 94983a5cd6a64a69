"""`audio_tts` with a real voice: what it says is understood."""

from __future__ import annotations

import pytest
from lanemesh import LanemeshError
from lanemesh.testing import run_node
from lanemesh_services.speech.audio_tts import AudioTts
from lanemesh_services.speech.transcribe import Transcribe

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

TEXT = "Good morning, dear listeners. The train to **London** leaves at nine."


def test_what_a_voice_of_piper_says_is_understood_and_is_the_same_each_time() -> None:
    spoken, again = (run_node(AudioTts, text=[TEXT], timeout=60).speech for _ in range(2))
    assert [piece.content for piece in spoken] == [piece.content for piece in again]
    heard = run_node(Transcribe, config={"interval": 30}, audio=spoken, timeout=110)
    assert "train to london leaves" in " ".join(heard.text).lower()


def test_a_greater_speed_takes_less_time() -> None:
    lengths = []
    for speed in (1.0, 2.0):
        config = {"format": "pcm", "pause": 0, "speed": speed}
        lengths.append(
            sum(len(piece.content) for piece in run_node(AudioTts, config=config, text=[TEXT], timeout=60).speech)
        )
    assert lengths[0] / lengths[1] > 1.4


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model": "nonexistent"}, "model-missing"),
        ({"model": "smollm2"}, "voice-unusable"),
        ({"speaker": 3}, "voice-unusable"),
    ],
)
def test_a_voice_that_cannot_be_used_is_one_sentence(config: dict[str, object], reason: str) -> None:
    with pytest.raises(LanemeshError) as caught:
        run_node(AudioTts, config=config, text=["Hello"], timeout=60)
    assert caught.value.fault.reason == reason
