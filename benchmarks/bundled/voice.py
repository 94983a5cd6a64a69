"""A spoken turn on a scripted model, in a mesh of processes: `cd benchmarks && python -m bundled.voice`.

A microphone sends raw samples in real time. Measured is when the first sound arrives at the client: after the text of the
question is known there, and after the last sample of speech. Beside it is the time that the same libraries take for this sound
in a loop of its own.
"""

import asyncio
import sys
import time
import wave
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from lanemesh import Answer, Audio
from lanemesh_orchestrator import Mesh

from bundled.alone import main
from chain.report import Verdict, console

TURNS = 7
TARGET_MS = 250.0
"""From the text of the question to the first sound."""
MIN_SILENCE = 0.3
"""Seconds of silence that end the question."""
PIECE = 0.1
"""Length of a piece of the microphone in seconds."""
QUIET = 0.02
"""Greatest sample, of 1, that is silence in the recording."""
SCRIPT = "It is sunny, with eleven degrees in London. In the evening there may be rain, so take an umbrella with you."
CLAUSE = "It is sunny,"
QUESTION = Path(__file__).parents[2] / "examples" / "inputs" / "question.wav"

PIPELINE: dict[str, Any] = {
    "source": "microphone",
    "components": [
        {"id": "microphone", "provider": "file"},
        {
            "id": "vad",
            "provider": "vad",
            "config": {"min_silence": MIN_SILENCE, "piece": PIECE},
            "input": [{"lane": "audio", "from": "microphone"}],
        },
        {
            "id": "transcribe",
            "provider": "transcribe",
            "config": {"language": "en"},
            "input": [{"lane": "audio", "from": "vad"}],
        },
        {
            "id": "llm",
            "provider": "llm_scripted",
            "config": {"script": [SCRIPT], "delay": 0.005},
            "input": [{"lane": "questions", "from": "transcribe"}],
        },
        {"id": "tts", "provider": "audio_tts", "input": [{"lane": "answers", "from": "llm"}]},
        {
            "id": "client",
            "provider": "response",
            "input": [
                {"lane": "text", "from": "transcribe"},
                {"lane": "audio", "from": "tts"},
                {"lane": "answers", "from": "llm"},
            ],
        },
    ],
}


@dataclass(frozen=True, kw_only=True)
class Turn:
    """When things were there, in ms."""

    after_text: float
    """The first sound, after the text of the question."""
    after_speech: float
    """The first sound, after the last sample of speech was sent."""
    alone: float = 0.0
    """What the same libraries took right after the turn, from the text to the first sound."""


def pieces() -> tuple[list[Audio], int]:
    """The question with silence after it, as the pieces of a microphone, and the number of the last piece with speech."""
    with wave.open(str(QUESTION)) as file:
        rate, samples = file.getframerate(), file.readframes(file.getnframes())
    samples += bytes(rate * 2)
    size = round(rate * PIECE) * 2
    cut = [samples[start : start + size] for start in range(0, len(samples), size)]
    loud = [max(abs(sample) for sample in memoryview(piece).cast("h")) > QUIET * 32_768 for piece in cut]
    last = max(place for place, is_loud in enumerate(loud) if is_loud)
    return [Audio("audio/pcm", piece, rate=rate, channels=1) for piece in cut], last


async def one_turn(mesh: Mesh) -> Turn:
    """One question in a run of its own, whose node servers have their models."""
    cut, last = pieces()
    spoken = 0.0
    async with mesh.run(PIPELINE, open_input=True) as run:

        async def speak() -> None:
            nonlocal spoken
            started = time.perf_counter()
            for place, piece in enumerate(cut):
                await asyncio.sleep(started + place * PIECE - time.perf_counter())
                await run.push(piece)
                if place == last:
                    spoken = time.perf_counter()
            await run.end_input()

        speaking = asyncio.create_task(speak(), name="microphone")
        text = sound = 0.0
        async for value in run.values():
            if isinstance(value, Audio):
                sound = sound or time.perf_counter()
            elif not isinstance(value, Answer):
                text = text or time.perf_counter()
        await speaking
    if not sound:
        raise RuntimeError("the turn had no sound")
    return Turn(after_text=(sound - text) * 1e3, after_speech=(sound - spoken) * 1e3)


class Alone:
    """The same libraries in a loop: the voice, and the encoder of MP3."""

    def __init__(self) -> None:
        from lanemesh_services.speech.voices import VoiceSettings, open_voice

        self._voice = open_voice(VoiceSettings("piper"))
        self.ms()  # the first one is slow

    def ms(self) -> float:
        """The time from a text to its first sound."""
        from lanemesh_services.speech.encoding import encoder

        started = time.perf_counter()
        for samples, rate in self._voice.speak(CLAUSE, 1.0):
            encoded = encoder("mp3", rate, 1)
            encoded.push(samples)
            encoded.finish()
            break
        return (time.perf_counter() - started) * 1e3


async def measure(turns: int) -> list[Turn]:
    """The turns in a mesh of processes, each followed by the libraries alone, so that load of the host meets both."""
    alone = await asyncio.to_thread(Alone)
    async with Mesh(spread="service") as mesh:
        await one_turn(mesh)  # loads the models
        return [replace(await one_turn(mesh), alone=await asyncio.to_thread(alone.ms)) for _ in range(turns)]


def judge(turns: Sequence[Turn]) -> list[Verdict]:
    """The target of a spoken turn."""
    value = median(turn.after_text for turn in turns)
    what = "voice turn, first sound after the text of the question"
    return [Verdict(what=what, value=value, bound=TARGET_MS, at_least=False, unit=" ms")]


async def verdicts(quick: bool) -> list[Verdict]:
    """The verdicts of this family; `quick`: of one turn."""
    turns = await measure(1 if quick else TURNS)
    after = median(turn.after_speech for turn in turns)
    alone = median(turn.alone for turn in turns)
    ratio = median(turn.after_text / turn.alone for turn in turns)
    console().print(
        f"voice turn: first sound {after:.0f} ms after the last sample of speech, of which {MIN_SILENCE * 1e3:.0f} ms are the "
        f"silence that ends a question; the voice takes {alone:.0f} ms for it in a loop of its own. After the text the first sound "
        f"takes {ratio:.2f}x of the voice's time, pair by pair"
    )
    return judge(turns)


if __name__ == "__main__":
    sys.exit(main(__doc__, "one turn, to see that it works", verdicts))
