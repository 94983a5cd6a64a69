"""Whisper models, on faster-whisper."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faster_whisper
from faster_whisper.utils import available_models
from lanemesh import Code, Fault

from lanemesh_services.shared import models
from lanemesh_services.shared.errors import ModelMissing, unusable

RATE = 16_000
WHISPER = "whisper-tiny-en"
"""The model that errors suggest."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a transcript."""

    start: float
    """Seconds from the begin of the samples."""
    end: float
    """Seconds from the begin of the samples."""
    text: str
    """Its text, without blanks around it."""


class Whisper:
    """A model that is loaded; several runs use it."""

    def __init__(self, name: str, device: str, threads: int | None) -> None:
        """Loads the model of a name or folder. Raises `ModelMissing` or `ModelUnusable`."""
        folder = _folder(name)
        self._busy = threading.Lock()
        try:
            self._model: Any = faster_whisper.WhisperModel(
                str(folder),
                device=device,
                compute_type="default" if device == "cuda" else "auto",
                cpu_threads=threads or max(1, (os.cpu_count() or 2) // 2),
                local_files_only=True,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise unusable(folder, str(error), "Give `model` the folder of a Whisper model for CTranslate2.") from error

    def close(self) -> None:
        """Waits for a transcription that goes on, and frees the memory of the model."""
        with self._busy:
            self._model.model.unload_model()

    def segments(self, samples: Any, config: Any) -> tuple[list[Segment], str]:
        """The speech in float samples at 16 kHz, and its language. Blocks the thread. Empty without speech."""
        if config.task == "translate" and not self._model.model.is_multilingual:
            raise unusable(
                config.model, "it knows English only, so it cannot translate", "Use a model of several languages."
            )
        with self._busy:
            return self._segments(samples, config)

    def _segments(self, samples: Any, config: Any) -> tuple[list[Segment], str]:
        language = config.language if self._model.model.is_multilingual else "en"
        found, info = self._model.transcribe(
            samples,
            language=language,
            task=config.task,
            beam_size=config.beam_size,
            temperature=[0.0, 0.4],
            condition_on_previous_text=False,
            initial_prompt=config.prompt or None,
            vad_filter=config.skip_silence,
        )
        segments = [Segment(one.start, one.end, text) for one in found if (text := one.text.strip())]
        return segments, info.language if segments else language or ""


def _folder(name: str) -> Path:
    """The folder of a model. Raises `ModelMissing` or `ModelUnusable`."""
    path = Path(name)
    if name in models.CATALOGUE or path.exists():
        folder = models.resolve(name, suggested=WHISPER)
        if not (folder / "model.bin").is_file():
            why = "it has no file model.bin" if folder.is_dir() else "it is no folder"
            raise unusable(folder, why, "Give `model` the folder of a Whisper model for CTranslate2.")
        return folder
    if name not in available_models() and (name.count("/") != 1 or name.startswith((".", "/", "~"))):
        return models.locate(name, suggested=WHISPER)
    try:
        return Path(faster_whisper.download_model(name))
    except Exception as error:
        raise _not_fetched(name, error) from error


def _not_fetched(name: str, error: Exception) -> ModelMissing:
    return ModelMissing(
        Fault(
            code=Code.FAILED_PRECONDITION,
            reason="model-missing",
            message=(
                f'The Whisper model "{name}" is not in the local cache of the model hub, and cannot be loaded from there '
                f"({type(error).__name__}); give `model` the folder of a Whisper model for CTranslate2, or use whisper-tiny-en, "
                "which is installed by: lanemesh models get whisper-tiny-en"
            ),
            details={"model": name},
        )
    )
