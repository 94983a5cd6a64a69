"""The errors of the speech service. Each message has what, where and what to do next."""

from __future__ import annotations

from lanemesh import Code, Fault, LanemeshError


class AudioUnusable(LanemeshError):
    """A piece of audio cannot be decoded. `on_bad_audio: skip` leaves it out."""


class VoiceUnusable(LanemeshError):
    """An engine of speech cannot be used as it is set."""


class SpeechFailed(LanemeshError):
    """An engine of speech failed at a text or a recording."""


def _audio(reason: str, place: str, why: str, hint: str, code: Code = Code.INVALID_ARGUMENT) -> AudioUnusable:
    return AudioUnusable(Fault(code=code, reason=reason, message=f"{place}: {why}. {hint}", details={"place": place}))


def bad_audio(place: str, why: str) -> AudioUnusable:
    """The bytes are no audio, or too damaged to be decoded."""
    return _audio(
        "bad-audio", place, f"it cannot be decoded: {why}", "Check that the file plays, or convert it to WAV."
    )


def empty_audio(place: str) -> AudioUnusable:
    """There are no bytes, or no samples in them."""
    return _audio("no-audio", place, "it is empty: there is no sample of audio in it", "Send audio with samples.")


def no_audio_track(place: str, tracks: str) -> AudioUnusable:
    """A file has no audio, such as a silent video."""
    return _audio("no-audio", place, f"it has no audio track, only {tracks}", "Send a file with an audio track.")


def unknown_format(place: str, why: str, hint: str) -> AudioUnusable:
    """No decoder reads it, or raw samples lack their rate."""
    return _audio("unknown-audio-format", place, why, hint)


def not_included(place: str, uri: str) -> AudioUnusable:
    """A piece of audio is at a URI."""
    return _audio(
        "audio-not-included",
        place,
        f"it has the URI {uri:.200} in place of its bytes",
        "Read the file first, and send its content.",
    )


def too_many_recordings(component: str, limit: int) -> LanemeshError:
    """More groups of audio are open than a node follows."""
    return LanemeshError(
        Fault(
            code=Code.RESOURCE_EXHAUSTED,
            reason="too-many-recordings",
            message=(
                f"{component}: more than {limit} recordings arrive at the same time, piece by piece. End some of them, or "
                'set "merge": "group" at the edge, which delivers one after the other.'
            ),
            details={"component": component},
        )
    )


def voice_unusable(voice: str, why: str, hint: str) -> VoiceUnusable:
    """A voice or its files cannot be used."""
    return VoiceUnusable(
        Fault(
            code=Code.FAILED_PRECONDITION,
            reason="voice-unusable",
            message=f"The voice {voice} cannot be used: {why}. {hint}",
            details={"voice": voice},
        )
    )


def program_missing(program: str, package: str) -> VoiceUnusable:
    """A program that speaks is not installed."""
    return VoiceUnusable(
        Fault(
            code=Code.FAILED_PRECONDITION,
            reason="program-missing",
            message=(
                f"audio_tts with the engine espeak needs the program {program}, which is not on the PATH of this node server. "
                f"Install it, on Debian with: apt-get install {package}; or set config.engine to piper."
            ),
            details={"program": program},
        )
    )


def speech_failed(place: str, why: str, hint: str) -> SpeechFailed:
    """An engine failed; `place` names the text or the recording."""
    return SpeechFailed(
        Fault(code=Code.INTERNAL, reason="speech-failed", message=f"{place}: {why}. {hint}", details={"place": place})
    )
