"""The `speech` service: finds, transcribes, speaks and converts speech."""

from __future__ import annotations

from lanemesh import Service

from lanemesh_services.speech.audio_convert import AudioConvert
from lanemesh_services.speech.audio_tts import AudioTts
from lanemesh_services.speech.transcribe import Transcribe
from lanemesh_services.speech.vad import Vad

SERVICE = Service("speech", [Vad, AudioConvert, Transcribe, AudioTts])
