"""Makes the recordings beside this file: `python examples/inputs/make_speech.py`. Needs lanemesh[speech,piper] and piper-joe-us."""

from __future__ import annotations

from pathlib import Path

from lanemesh import Audio
from lanemesh.testing import run_node
from lanemesh_services.speech.audio_convert import AudioConvert
from lanemesh_services.speech.audio_tts import AudioTts

FOLDER = Path(__file__).parent

QUESTION = [("What is the weather like in London today?", 1.0)]
CALL = [
    ("Good morning, this is the harbour bakery. How can I help you?", 1.0),
    ("Hello. I would like to order two apple cakes for Friday.", 0.9),
    ("Two apple cakes for Friday. At what time will you collect them?", 1.0),
    ("At nine in the morning, please. And can I pay by card?", 0.9),
    ("Yes, you can. See you on Friday at nine.", 1.0),
]
"""Sentences, each with the speed of its speaker."""


def speech(sentences: list[tuple[str, float]]) -> list[Audio]:
    """Raw samples of the sentences, each with half a second of silence after it."""
    pieces = []
    for sentence, speed in sentences:
        config = {"format": "pcm", "speed": speed, "first_clause": False}
        spoken = run_node(AudioTts, config=config, text=[sentence], timeout=60).speech
        content = b"".join(piece.content for piece in spoken) + bytes(int(spoken[0].rate / 2) * 2)
        pieces.append(Audio("audio/pcm", content, rate=spoken[0].rate, channels=1))
    return pieces


def write(name: str, pieces: list[Audio], **config: object) -> None:
    """Writes the pieces as one file of another format."""
    converted = run_node(
        AudioConvert, config={"channels": 1, "piece": 60, **config}, audio=pieces, timeout=60
    ).converted
    (FOLDER / name).write_bytes(b"".join(piece.content for piece in converted))


if __name__ == "__main__":
    write("question.wav", speech(QUESTION), format="wav", rate=16_000)
    write("call.mp3", speech(CALL), format="mp3", rate=16_000, bitrate=24_000)
