"""Voices: engines that make samples from a sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lanemesh_services.shared import models
from lanemesh_services.shared.errors import import_failed
from lanemesh_services.speech.errors import program_missing, speech_failed, voice_unusable

PIPER_VOICE = "piper-joe-us"
"""The voice of piper unless another one is set."""
ESPEAK = "espeak-ng"
ESPEAK_WORDS = 175
"""Words a minute of espeak-ng at speed 1."""
ESPEAK_SECONDS = 60.0
"""Longest time for a sentence."""


@dataclass(frozen=True, slots=True)
class VoiceSettings:
    """Which voice speaks."""

    engine: str
    model: str | None = None
    voices: str | None = None
    voice: str | None = None
    speaker: int | None = None
    variation: float = 0.0
    threads: int | None = None


class Voice(Protocol):
    """A voice that is loaded. Several runs use it."""

    def speak(self, text: str, speed: float) -> Iterator[tuple[Any, int]]:
        """The samples of a sentence in parts, int16 with one row per sample, each with its rate. Blocks the thread.

        Raises:
            SpeechFailed: the engine failed.
        """

    def close(self) -> None:
        """Frees what it has."""


def open_voice(settings: VoiceSettings) -> Voice:
    """Loads a voice. Blocks the thread.

    Raises:
        LanemeshError: the engine, the program or the files are missing or cannot be used.
    """
    match settings.engine:
        case "piper":
            return _Piper(settings)
        case "espeak":
            return _Espeak(settings)
    return _Kokoro(settings)


class _Piper:
    """A voice of piper."""

    def __init__(self, settings: VoiceSettings) -> None:
        try:
            import onnxruntime
            from piper import PiperVoice, SynthesisConfig
            from piper.config import PiperConfig
        except ImportError as error:
            raise import_failed("piper-tts", "audio_tts with the engine piper", "piper", error) from error
        name = settings.model or PIPER_VOICE
        path = models.resolve(name, suggested=PIPER_VOICE)
        hint = "Give `model` the .onnx file of a piper voice, which has its .onnx.json file beside it."
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = settings.threads or max(1, (os.cpu_count() or 2) // 2)
        options.inter_op_num_threads = 1
        try:
            config = PiperConfig.from_dict(json.loads(Path(f"{path}.json").read_text(encoding="utf-8")))
            session = onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common class but this
            raise voice_unusable(name, f"{type(error).__name__}: {error}", hint) from error
        if settings.speaker is not None and settings.speaker >= config.num_speakers:
            count = config.num_speakers
            raise voice_unusable(name, f"it has {count} speakers", f"Set `speaker` to less than {count}.")
        self._voice: Any = PiperVoice(session=session, config=config)
        self._synthesis: Any = SynthesisConfig
        self._speaker = settings.speaker
        self._variation = settings.variation

    def speak(self, text: str, speed: float) -> Iterator[tuple[Any, int]]:
        """See `Voice.speak`."""
        try:
            for chunk in self._voice.synthesize(text, self._settings(speed)):
                yield chunk.audio_int16_array.reshape(-1, 1), chunk.sample_rate
        except (RuntimeError, ValueError) as error:
            raise speech_failed(f'the sentence "{text:.60}"', f"piper failed: {error}", "Use another voice.") from error

    def close(self) -> None:
        """Frees the session."""
        self._voice = None

    def _settings(self, speed: float) -> Any:
        config = self._voice.config
        return self._synthesis(
            speaker_id=self._speaker,
            length_scale=config.length_scale / speed,
            noise_scale=config.noise_scale * self._variation,
            noise_w_scale=config.noise_w_scale * self._variation,
        )


class _Espeak:
    """A voice of the program espeak-ng."""

    def __init__(self, settings: VoiceSettings) -> None:
        program = shutil.which(ESPEAK)
        if program is None:
            raise program_missing(ESPEAK, ESPEAK)
        self._program = program
        self._voice = settings.voice or "en-us"
        checked = self._run("", 1.0)
        if checked.returncode:
            hint = f"List its voices with: {ESPEAK} --voices"
            raise voice_unusable(self._voice, _last_words(checked), hint)

    def speak(self, text: str, speed: float) -> Iterator[tuple[Any, int]]:
        """See `Voice.speak`."""
        import numpy as np

        place = f'the sentence "{text:.60}"'
        try:
            spoken = self._run(text, speed)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise speech_failed(place, f"{ESPEAK} failed: {error}", "Check the program on this node server.") from error
        if spoken.returncode:
            raise speech_failed(place, f"{ESPEAK} failed: {_last_words(spoken)}", "Check `voice`.")
        head, samples = spoken.stdout[:44], spoken.stdout[44:]
        if len(samples) >= 2:
            whole = samples[: len(samples) // 2 * 2]
            yield (
                np.frombuffer(whole, dtype="<i2").astype(np.int16).reshape(-1, 1),
                int.from_bytes(head[24:28], "little"),
            )

    def close(self) -> None:
        """Has no effect: it keeps nothing."""

    def _run(self, text: str, speed: float) -> subprocess.CompletedProcess[bytes]:
        words = str(round(ESPEAK_WORDS * speed))
        command = [self._program, "--stdin", "--stdout", "-b", "1", "-v", self._voice, "-s", words]
        return subprocess.run(
            command,
            input=text.encode(),
            capture_output=True,
            timeout=ESPEAK_SECONDS,
            check=False,
        )


def _last_words(ended: subprocess.CompletedProcess[bytes]) -> str:
    return ended.stderr.decode(errors="replace").strip().rstrip(".")[:500] or f"it ended with code {ended.returncode}"


class _Kokoro:
    """A voice of kokoro."""

    def __init__(self, settings: VoiceSettings) -> None:
        self._voice = settings.voice or "af_heart"
        if settings.model is None or settings.voices is None:
            missing = "model" if settings.model is None else "voices"
            why = f"kokoro's files are not in the package, and `{missing}` is not set"
            hint = "Set `model` to its .onnx file and `voices` to the file of its voices, or use the profile piper."
            raise voice_unusable(self._voice, why, hint)
        try:
            from kokoro_onnx import Kokoro
        except ImportError as error:
            raise import_failed("kokoro-onnx", "audio_tts with the engine kokoro", "kokoro", error) from error
        try:
            self._kokoro: Any = Kokoro(str(Path(settings.model).expanduser()), settings.voices)
            known = list(self._kokoro.get_voices())
        except Exception as error:  # onnxruntime's errors have no common class but this
            hint = "Set `model` and `voices` to the files of one release of kokoro."
            raise voice_unusable(self._voice, f"{type(error).__name__}: {error}", hint) from error
        if self._voice not in known:
            raise voice_unusable(self._voice, "the file has no such voice", f"Its voices: {', '.join(known[:60])}.")

    def speak(self, text: str, speed: float) -> Iterator[tuple[Any, int]]:
        """See `Voice.speak`."""
        import numpy as np

        try:
            samples, rate = self._kokoro.create(text, voice=self._voice, speed=speed, lang=_language(self._voice))
        except (RuntimeError, ValueError) as error:
            raise speech_failed(
                f'the sentence "{text:.60}"', f"kokoro failed: {error}", "Use another voice."
            ) from error
        yield (np.clip(samples, -1, 1) * 32767).astype(np.int16).reshape(-1, 1), rate

    def close(self) -> None:
        """Frees the session."""
        self._kokoro = None


_LANGUAGES = {"a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi", "i": "it", "p": "pt-br"}


def _language(voice: str) -> str:
    """The language of a voice of kokoro, which is the first letter of its name."""
    return _LANGUAGES.get(voice[:1], "en-us")
